"""Harmonic-plus-noise excitation from f0. The random draws are arguments, never the global seed.

Source: Wang, Takaki and Yamagishi, "Neural source-filter waveform models" (arXiv 1904.12088),
section on the source module.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class SourceDraws:
    """The random part of an excitation.

    Attributes:
        phase: Initial phase of each harmonic in (-pi, pi), (B, H, 1); the first is taken as 0.
        noise: Standard normal, (B, H, n_samples).
    """

    phase: Tensor
    noise: Tensor


def draw_source(
    batch: int, n_harmonics: int, n_samples: int, generator: torch.Generator | None = None
) -> SourceDraws:
    """Draw phases and noise on the CPU, so that every device gets the same numbers."""
    uniform = torch.rand(batch, n_harmonics, 1, generator=generator)
    noise = torch.randn(batch, n_harmonics, n_samples, generator=generator)
    return SourceDraws((2 * uniform - 1) * math.pi, noise)


class SineGen(nn.Module):
    """Sines at f0 and its overtones where voiced, noise where not. Has no weights.

    Args:
        samp_rate: Samples a second.
        harmonic_num: Overtones beside the fundamental.
        sine_amp: Amplitude of a sine.
        noise_std: Noise added to the sines.
        voiced_threshold: f0 in Hz above which a sample counts as voiced.
    """

    def __init__(
        self,
        samp_rate: int,
        harmonic_num: int = 0,
        sine_amp: float = 0.1,
        noise_std: float = 0.003,
        voiced_threshold: float = 0,
    ) -> None:
        super().__init__()
        self.sampling_rate = samp_rate
        self.harmonic_num = harmonic_num
        self.sine_amp = sine_amp
        self.noise_std = noise_std
        self.voiced_threshold = voiced_threshold

    def harmonic_cycles(self, f0: Tensor, start: Tensor | None = None) -> Tensor:
        """Accumulate f0 (B, 1, n) Hz into cycles of every harmonic, (B, H, n) in [0, 1).

        `start` (B, H, 1) holds the cycles before the first sample, for a source that goes on.
        """
        numbers = torch.arange(1, self.harmonic_num + 2, device=f0.device, dtype=f0.dtype)
        steps = f0 * numbers[:, None] / self.sampling_rate  # (B, H, n)
        cycles = torch.cumsum(steps, dim=-1)
        return (cycles if start is None else cycles + start) % 1

    def from_cycles(self, cycles: Tensor, f0: Tensor, draws: SourceDraws) -> Tensor:
        """Make the excitation (B, H, n) from cycles (B, H, n), f0 (B, 1, n) and draws."""
        phase = draws.phase.to(f0).clone()
        phase[:, 0] = 0.0
        sines = self.sine_amp * torch.sin(2 * math.pi * cycles + phase)
        voiced = (f0 > self.voiced_threshold).to(f0.dtype)
        noise_level = voiced * self.noise_std + (1 - voiced) * self.sine_amp / 3
        return sines * voiced + noise_level * draws.noise.to(f0)

    def forward(self, f0: Tensor, draws: SourceDraws) -> Tensor:
        """Turn f0 at sample rate (B, 1, n) into (B, H, n)."""
        return self.from_cycles(self.harmonic_cycles(f0), f0, draws)


class SourceModuleHnNSF(nn.Module):
    """Merges the harmonics into one excitation with a linear layer and tanh."""

    def __init__(
        self,
        sampling_rate: int,
        upsample_scale: int,
        harmonic_num: int = 0,
        sine_amp: float = 0.1,
        add_noise_std: float = 0.003,
        voiced_threshod: float = 0,
    ) -> None:
        super().__init__()
        self.upsample_scale = upsample_scale
        self.l_sin_gen = SineGen(
            sampling_rate, harmonic_num, sine_amp, add_noise_std, voiced_threshod
        )
        self.l_linear = nn.Linear(harmonic_num + 1, 1)

    @property
    def n_harmonics(self) -> int:
        """Sines, the fundamental included."""
        return self.l_sin_gen.harmonic_num + 1

    def merge(self, sines: Tensor) -> Tensor:
        """Merge (B, H, n) into (B, 1, n)."""
        return torch.tanh(self.l_linear(sines.transpose(1, 2))).transpose(1, 2)

    def forward(self, f0: Tensor, draws: SourceDraws) -> Tensor:
        """Turn f0 at sample rate (B, 1, n) into the excitation (B, 1, n)."""
        return self.merge(self.l_sin_gen(f0, draws))
