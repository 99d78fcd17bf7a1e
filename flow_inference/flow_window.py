"""Windows of speech tokens to mel, one or many in a batch, each as it would be alone.

Knows the flow model; knows nothing of streams or waveforms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cosyvoice.flow.flow import MaskedDiffWithXvec
from cosyvoice.flow.guided_velocity import FlowConditions
from cosyvoice.flow.solving import Solving
from cosyvoice.utils.mask import make_valid_mask


@dataclass(frozen=True)
class Window:
    """A stretch of tokens that becomes mel together.

    Attributes:
        tokens: The prompt's tokens and the new ones.
        n_frames: Mel frames of all of them.
        prompt_mel: (80, prompt frames), what is known of the beginning.
        noise: Standard normal, (80, n_frames).
    """

    tokens: list[int]
    n_frames: int
    prompt_mel: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Sizes:
    """Sizes of a batch of windows, known without asking the device.

    Attributes:
        n_tokens, n_frames: Width of the batch.
        is_padded: Whether some window is narrower.
    """

    n_tokens: int
    n_frames: int
    is_padded: bool

    @classmethod
    def of(cls, windows: Sequence[Window], step: int) -> "Sizes":
        """Take the longest window, rounded up to a multiple of `step` frames."""
        longest = max(window.n_frames for window in windows)
        n_frames = -(-longest // step) * step
        alike = len({(len(window.tokens), window.n_frames) for window in windows}) == 1
        n_tokens = max(len(window.tokens) for window in windows)
        return cls(n_tokens, n_frames, not alike or n_frames > longest)


def decode_windows(
    flow: MaskedDiffWithXvec,
    windows: Sequence[Window],
    embedding: Tensor,
    solving: Solving,
    frame_step: int = 1,
) -> list[Tensor]:
    """Solve the flow for windows of any lengths as one batch; see `solve_windows`.

    Returns:
        For each window the mel after its prompt, (80, n_frames - prompt frames), on the CPU.
    """
    mels: list[Tensor] = []
    for solved in solve_windows(flow, windows, embedding, solving, frame_step):
        mels = solved or mels
    return mels


@torch.no_grad()
def solve_windows(
    flow: MaskedDiffWithXvec,
    windows: Sequence[Window],
    embedding: Tensor,
    solving: Solving,
    frame_step: int = 1,
) -> Iterator[list[Tensor] | None]:
    """Solve the flow for windows of any lengths as one batch, with guidance in the same batch.

    Unlike in `flow.inference`, numbers of frames are given and prompts may differ in length. A
    device is waited for once, at the end.

    Args:
        flow: The model.
        windows: At least one; the shorter ones are padded, and padding is hidden from all others.
        embedding: (B, spk_embed_dim) speaker vectors; their device is where to compute.
        solving: How the flow is solved.
        frame_step: Pad to a multiple of so many frames, so that shapes come again.

    Yields:
        None before each step; at last, for each window, the mel after its prompt,
        (80, n_frames - prompt frames), on the CPU.
    """
    device, sizes = embedding.device, Sizes.of(windows, frame_step)
    n_frames = sizes.n_frames
    frame_lens = send(torch.tensor([window.n_frames for window in windows]), device)
    with solving.number_format(device):
        mask = make_valid_mask(frame_lens, n_frames).unsqueeze(1).float()  # (B, 1, n_frames)
        conditions = FlowConditions(
            mask=mask if sizes.is_padded else None,
            mu=_encode(flow, windows, frame_lens, sizes),
            spks=flow.spk_embed_affine_layer(functional.normalize(embedding, dim=1)),
            cond=send(_fill([window.prompt_mel for window in windows], n_frames), device),
        )
        noise = send(_fill([window.noise for window in windows], n_frames), device)
    steps = flow.decoder.steps(noise, conditions, solving)
    for _ in range(solving.n_timesteps):
        yield None
        with solving.number_format(device):
            mel = next(steps)
    mel = mel.float().cpu()
    yield [
        row[:, window.prompt_mel.shape[1] : window.n_frames]
        for row, window in zip(mel, windows, strict=True)
    ]


def send(x: Tensor, device: torch.device) -> Tensor:
    """Bring a tensor of the CPU to a device without waiting for it."""
    if not is_cuda(device):
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def is_cuda(device: str | torch.device) -> bool:
    """Tell whether a device has CUDA's streams and copies beside the computing."""
    return torch.empty(0, device=device).is_cuda


def _encode(
    flow: MaskedDiffWithXvec, windows: Sequence[Window], frame_lens: Tensor, sizes: Sizes
) -> Tensor:
    """Encode the tokens and stretch them to the mel rate, (B, 80, n_frames)."""
    device = frame_lens.device
    rows = [torch.tensor(window.tokens) for window in windows]
    token = send(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), device)  # (B, n_tokens)
    token_lens = send(torch.tensor([len(window.tokens) for window in windows]), device)
    valid = make_valid_mask(token_lens, sizes.n_tokens).unsqueeze(-1)
    hidden, _ = flow.encoder(flow.input_embedding(token) * valid, token_lens)
    shown = token_lens if sizes.is_padded else None
    return flow.stretch(hidden, frame_lens, shown, sizes.n_frames).transpose(1, 2)


def _fill(rows: Sequence[Tensor], n_frames: int) -> Tensor:
    """Put (C, n_i) tensors into one (B, C, n_frames), zeros on the right."""
    return torch.stack([functional.pad(row, (0, n_frames - row.shape[1])) for row in rows])
