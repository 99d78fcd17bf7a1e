"""Mel to waveform, frame by frame, exactly as if the whole mel had been there at once.

Frames are given out once everything they depend on has come. The excitation runs on: its phase is
kept, its noise belongs to the sample it is drawn for. Many replies can be spoken in one batch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cosyvoice.hifigan.frame_span import FrameSpan
from cosyvoice.hifigan.generator import HiFTGenerator
from cosyvoice.hifigan.source import SourceDraws

BATCH_STEP = 32
"""Open stretches go together if they are as long to so many frames."""


@dataclass(frozen=True)
class Stretch:
    """Frames to put through the vocoder.

    The first one stands where the reply begins, or before all that anything kept depends on.

    Attributes:
        mel: (80, n).
        source: Excitation, (n * hop_length,), where the weights are; none yet for f0.
        kept: Frames whose result is wanted.
        is_last: The reply ends with it; otherwise frames may be added at the end, as nothing kept
            depends on what comes after.
    """

    mel: Tensor
    source: Tensor | None
    kept: FrameSpan
    is_last: bool

    @property
    def n_frames(self) -> int:
        """Frames, kept or not."""
        return self.mel.shape[1]


class VocoderStream:
    """Waveform of one reply, growing as its mel comes; all state between two pushes.

    Args:
        hift: Vocoder; holds weights only.
        seed: Seed of the excitation's draws.
    """

    def __init__(self, hift: HiFTGenerator, seed: int) -> None:
        self.hift = hift
        self._hop = hift.hop_length
        self._context = hift.context_frames
        self._f0_context = hift.f0_context_frames
        self._generator = torch.Generator().manual_seed(seed)
        n_harmonics = hift.m_source.n_harmonics
        uniform = torch.rand(1, n_harmonics, 1, generator=self._generator)
        self._phase = (2 * uniform - 1) * math.pi
        self._cycles = torch.zeros(1, n_harmonics, 1, dtype=torch.float64)
        self._device = hift.conv_pre.bias.device
        self._mel = torch.zeros(80, 0)
        self._source = torch.zeros(0, device=self._device)
        self._origin = 0  # frame number of the first column of _mel and _source
        self._n_emitted = 0  # frames

    def push(self, mel: Tensor, is_last: bool = False) -> Tensor:
        """Take mel frames (80, n); return the samples that became final, (m,) float32.

        Args:
            mel: Next frames, maybe none.
            is_last: Nothing follows: everything held back is returned.
        """
        return push_together([self], [mel], [is_last])[0]

    def take(self, mel: Tensor, is_last: bool) -> Stretch | None:
        """Take mel frames (80, n); give those whose f0 is wanted, if there are any."""
        self._mel = torch.cat([self._mel, mel], dim=1)
        n_mel = self._origin + self._mel.shape[1]
        first, stop = self._n_sourced, n_mel if is_last else n_mel - self._f0_context
        if stop <= first:
            return None
        known_from = max(self._origin, first - self._f0_context)
        kept = FrameSpan(first - known_from, stop - known_from)
        return Stretch(self._mel[:, known_from - self._origin :], None, kept, is_last)

    def excite(self, f0: Tensor) -> None:
        """Make the excitation of the frames that `take` gave, from their f0, (n,)."""
        f0_samples = self.hift.upsample_f0(f0[None])  # (1, 1, n)
        sine = self.hift.m_source.l_sin_gen
        cycles = sine.harmonic_cycles(f0_samples.double(), self._cycles)
        self._cycles = cycles[:, :, -1:]
        size = (f0_samples.shape[2], self._phase.shape[1])
        noise = torch.randn(size, generator=self._generator).T[None]
        sines = sine.from_cycles(cycles.float(), f0_samples, SourceDraws(self._phase, noise))
        source = self.hift.m_source.merge(sines.to(self._device))
        self._source = torch.cat([self._source, source[0, 0]])

    def ready(self, is_last: bool) -> Stretch | None:
        """Give what can be spoken now, with context on both sides, if there is anything."""
        n_source = self._n_sourced
        n_final = n_source if is_last else n_source - self._context
        if n_final <= self._n_emitted:
            return None
        first = max(self._origin, self._n_emitted - self._context)
        low, high = first - self._origin, n_source - self._origin
        kept = FrameSpan(self._n_emitted - first, n_final - first)
        source = self._source[low * self._hop : high * self._hop]
        self._n_emitted = n_final
        stretch = Stretch(self._mel[:, low:high], source, kept, is_last)
        self._forget()
        return stretch

    @property
    def _n_sourced(self) -> int:
        """Frames whose excitation is made."""
        return self._origin + self._source.shape[0] // self._hop

    def _forget(self) -> None:
        """Drop what no later sample depends on."""
        keep_from = max(self._origin, self._n_emitted - self._context - self._f0_context)
        surplus = keep_from - self._origin
        self._mel = self._mel[:, surplus:]
        self._source = self._source[surplus * self._hop :]
        self._origin = keep_from


@torch.no_grad()
def push_together(
    streams: Sequence[VocoderStream], mels: Sequence[Tensor], are_last: Sequence[bool]
) -> list[Tensor]:
    """Push to many streams of one vocoder at once; see `VocoderStream.push`.

    A device is waited for twice for all that are about equally long, however many they are.
    """
    hift = streams[0].hift
    device = hift.conv_pre.bias.device
    taken = [
        stream.take(mel, is_last)
        for stream, mel, is_last in zip(streams, mels, are_last, strict=True)
    ]

    def predict(batch: Sequence[Stretch], n_frames: int) -> Tensor:
        return hift.predict_f0(_stack([each.mel for each in batch], n_frames).to(device))

    for stream, f0 in zip(streams, _run(taken, predict, 1), strict=True):
        if f0 is not None:
            stream.excite(f0)

    def decode(batch: Sequence[Stretch], n_frames: int) -> Tensor:
        sources = [each.source for each in batch if each.source is not None]
        source = _stack(sources, n_frames * hift.hop_length)[:, None]
        stop = max(each.kept.stop for each in batch)
        kept = FrameSpan(min(each.kept.start for each in batch), stop)
        mel = _stack([each.mel for each in batch], n_frames)
        found = hift.decode(mel.to(device), source, kept)
        return functional.pad(found, (kept.start * hift.hop_length, 0))

    ready = [stream.ready(is_last) for stream, is_last in zip(streams, are_last, strict=True)]
    sounds = _run(ready, decode, hift.hop_length)
    return [torch.zeros(0) if sound is None else sound for sound in sounds]


def _run(
    stretches: Sequence[Stretch | None],
    compute: Callable[[Sequence[Stretch], int], Tensor],
    rate: int,
) -> list[Tensor | None]:
    """Put stretches through in batches of about the same length.

    Args:
        stretches: What to put through.
        compute: Maps stretches and the number of frames to pad to onto (B, n_frames * rate).
        rate: Values a frame.

    Returns:
        For each stretch its kept part, (n,) float32 on the CPU.
    """
    groups: dict[tuple[bool, int], list[int]] = {}
    for index, each in enumerate(stretches):
        if each is not None:
            length = each.n_frames if each.is_last else -(-each.n_frames // BATCH_STEP)
            groups.setdefault((each.is_last, length), []).append(index)
    found: list[Tensor | None] = [None] * len(stretches)
    for indices in groups.values():
        batch = [each for index in indices if (each := stretches[index]) is not None]
        n_frames = max(each.n_frames for each in batch)
        rows = compute(batch, n_frames).float().cpu()
        for index, each, row in zip(indices, batch, rows, strict=True):
            whole = FrameSpan(0, each.n_frames)
            found[index] = whole.cut(row, each.kept, rate).clone()
    return found


def _stack(rows: Sequence[Tensor], n: int) -> Tensor:
    """Put (..., n_i) tensors into one (B, ..., n), zeros on the right."""
    return torch.stack([functional.pad(row, (0, n - row.shape[-1])) for row in rows])
