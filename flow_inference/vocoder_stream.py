"""Mel to waveform, frame by frame, exactly as if the whole mel had been there at once.

Frames are given out once everything they depend on has come. The excitation runs on: its phase is
kept, its noise belongs to the sample it is drawn for.
"""

import math

import torch
from torch import Tensor

from cosyvoice.hifigan.frame_span import FrameSpan
from cosyvoice.hifigan.generator import HiFTGenerator
from cosyvoice.hifigan.source import SourceDraws


class VocoderStream:
    """Waveform of one reply, growing as its mel comes; all state between two pushes.

    Args:
        hift: Vocoder; holds weights only.
        seed: Seed of the excitation's draws.
    """

    def __init__(self, hift: HiFTGenerator, seed: int) -> None:
        self._hift = hift
        self._hop = hift.hop_length
        self._context = hift.context_frames
        self._f0_context = hift.f0_context_frames
        self._generator = torch.Generator().manual_seed(seed)
        n_harmonics = hift.m_source.n_harmonics
        uniform = torch.rand(1, n_harmonics, 1, generator=self._generator)
        self._phase = (2 * uniform - 1) * math.pi
        self._cycles = torch.zeros(1, n_harmonics, 1, dtype=torch.float64)
        self._device = hift.conv_pre.bias.device
        self._mel = torch.zeros(1, 80, 0)
        self._source = torch.zeros(1, 1, 0)
        self._origin = 0  # frame number of the first column of _mel and _source
        self._n_emitted = 0  # frames

    @torch.no_grad()
    def push(self, mel: Tensor, is_last: bool = False) -> Tensor:
        """Take mel frames (80, n); return the samples that became final, (m,) float32.

        Args:
            mel: Next frames, maybe none.
            is_last: Nothing follows: everything held back is returned.
        """
        self._mel = torch.cat([self._mel, mel[None]], dim=2)
        n_mel = self._origin + self._mel.shape[2]
        n_source = n_mel if is_last else max(self._n_sourced, n_mel - self._f0_context)
        self._extend_source(n_source)
        n_final = n_source if is_last else n_source - self._context
        if n_final <= self._n_emitted:
            return torch.zeros(0)
        samples = self._decode(n_source, n_final)
        self._n_emitted = n_final
        self._forget()
        return samples

    @property
    def _n_sourced(self) -> int:
        """Frames whose excitation is made."""
        return self._origin + self._source.shape[2] // self._hop

    def _extend_source(self, n_frames: int) -> None:
        """Make the excitation up to frame `n_frames`."""
        first = self._n_sourced
        if n_frames <= first:
            return
        known_from = max(self._origin, first - self._f0_context)
        window = self._mel[:, :, known_from - self._origin :].to(self._device)
        f0 = self._hift.predict_f0(window)[:, first - known_from : n_frames - known_from]
        f0_samples = self._hift.upsample_f0(f0.cpu())  # (1, 1, n)
        sine = self._hift.m_source.l_sin_gen
        cycles = sine.harmonic_cycles(f0_samples.double(), self._cycles)
        self._cycles = cycles[:, :, -1:]
        size = (f0_samples.shape[2], self._phase.shape[1])
        noise = torch.randn(size, generator=self._generator).T[None]
        sines = sine.from_cycles(cycles.float(), f0_samples, SourceDraws(self._phase, noise))
        source = self._hift.m_source.merge(sines.to(self._device)).cpu()
        self._source = torch.cat([self._source, source], dim=2)

    def _decode(self, n_source: int, n_final: int) -> Tensor:
        """Decode with context on both sides; return frames [emitted, n_final) as samples."""
        first = max(self._origin, self._n_emitted - self._context)
        low, high = first - self._origin, n_source - self._origin
        mel = self._mel[:, :, low:high].to(self._device)
        source = self._source[:, :, low * self._hop : high * self._hop].to(self._device)
        kept = FrameSpan(self._n_emitted - first, n_final - first)
        return self._hift.decode(mel, source, kept)[0].float().cpu().clone()

    def _forget(self) -> None:
        """Drop what no later sample depends on."""
        keep_from = max(self._origin, self._n_emitted - self._context - self._f0_context)
        surplus = keep_from - self._origin
        self._mel = self._mel[:, :, surplus:]
        self._source = self._source[:, :, surplus * self._hop :]
        self._origin = keep_from
