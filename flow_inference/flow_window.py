"""Windows of speech tokens to mel, one or many in a batch, each as it would be alone.

Knows the flow model; knows nothing of streams or waveforms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cosyvoice.flow.flow import MaskedDiffWithXvec
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


@torch.no_grad()
def decode_windows(
    flow: MaskedDiffWithXvec, windows: Sequence[Window], embedding: Tensor, solving: Solving
) -> list[Tensor]:
    """Solve the flow for windows of any lengths as one batch, with guidance in the same batch.

    Unlike in `flow.inference`, numbers of frames are given and prompts may differ in length.

    Args:
        flow: The model.
        windows: At least one; the shorter ones are padded, and padding is hidden from all others.
        embedding: (B, spk_embed_dim) speaker vectors; their device is where to compute.
        solving: How the flow is solved.

    Returns:
        For each window the mel after its prompt, (80, n_frames - prompt frames), on the CPU.
    """
    device = embedding.device
    token_lens = torch.tensor([len(window.tokens) for window in windows], device=device)
    frame_lens = torch.tensor([window.n_frames for window in windows], device=device)
    mask = make_valid_mask(frame_lens).unsqueeze(1).float()  # (B, 1, n_frames)
    n_frames = mask.shape[2]
    mel = flow.decoder(
        mu=_encode(flow, windows, token_lens, frame_lens),
        mask=mask,
        spks=flow.spk_embed_affine_layer(functional.normalize(embedding, dim=1)),
        cond=_fill([window.prompt_mel for window in windows], n_frames).to(device),
        n_timesteps=solving,
        noise=_fill([window.noise for window in windows], n_frames).to(device),
    ).cpu()
    return [
        row[:, window.prompt_mel.shape[1] : window.n_frames]
        for row, window in zip(mel, windows, strict=True)
    ]


def _encode(
    flow: MaskedDiffWithXvec, windows: Sequence[Window], token_lens: Tensor, frame_lens: Tensor
) -> Tensor:
    """Encode the tokens and stretch them to the mel rate, (B, 80, n_frames)."""
    rows = [torch.tensor(window.tokens) for window in windows]
    token = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(token_lens.device)  # (B, T)
    valid = make_valid_mask(token_lens).unsqueeze(-1)
    hidden, _ = flow.encoder(flow.input_embedding(token) * valid, token_lens)
    is_padded = len({(len(window.tokens), window.n_frames) for window in windows}) > 1
    hidden, _ = flow.length_regulator(
        flow.encoder_proj(hidden), frame_lens, token_lens if is_padded else None
    )
    return hidden.transpose(1, 2)


def _fill(rows: Sequence[Tensor], n_frames: int) -> Tensor:
    """Put (C, n_i) tensors into one (B, C, n_frames), zeros on the right."""
    return torch.stack([functional.pad(row, (0, n_frames - row.shape[1])) for row in rows])
