"""Discriminators that tell recorded speech from the vocoder's. For training only, never exported.

Judges of periods (every p-th sample side by side) and of spectrograms at several resolutions.
Sources: Kong et al., "HiFi-GAN" (arXiv 2010.05646), section 2.3; Jang et al., "UnivNet" (arXiv
2106.07889), section 2.3. Knows waveforms, no losses and no training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

_SLOPE = 0.1
_FLOOR = 1e-5
_COMPRESSION = 0.3  # of magnitudes: quiet upper bands are to be seen beside loud lower ones


@dataclass(frozen=True)
class DiscriminatorSizes:
    """How many discriminators there are and how wide they are.

    Attributes:
        periods: A discriminator each; prime numbers, so that they see different samples.
        period_channels: Width after each of their convolutions, which thin time by three.
        n_ffts: A spectrogram discriminator each; the hop is a quarter.
        spectrum_channels: Width of their convolutions.
    """

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024)
    n_ffts: tuple[int, ...] = (512, 1024, 2048)
    spectrum_channels: int = 32


@dataclass(frozen=True)
class Verdict:
    """What one discriminator says of waveforms.

    Attributes:
        scores: (B, ...); near one for recorded speech, near zero for the vocoder's.
        features: What its convolutions saw on the way, (B, C, ...) each.
    """

    scores: Tensor
    features: tuple[Tensor, ...]


def _conv(
    in_width: int, width: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)
) -> nn.Module:
    """Make a weight-normalised convolution that keeps the size but for its stride."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    return weight_norm(nn.Conv2d(in_width, width, kernel, stride, padding))


class _ConvStack(nn.Module):
    """Convolutions with leaky ReLUs between them; the last one gives the scores."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def judge(self, x: Tensor) -> Verdict:
        """Look at a plane (B, 1, H, W)."""
        features = []
        for layer in self.layers[:-1]:
            x = functional.leaky_relu(layer(x), _SLOPE)
            features.append(x)
        return Verdict(self.layers[-1](x).float(), tuple(features))


class PeriodDiscriminator(_ConvStack):
    """Sees a waveform folded into rows of `period` samples and looks along the columns."""

    def __init__(self, period: int, channels: Sequence[int]) -> None:
        widths = list(zip([1, *channels[:-1]], channels, strict=True))
        thinning = [_conv(before, after, (5, 1), (3, 1)) for before, after in widths]
        last = channels[-1]
        super().__init__([*thinning, _conv(last, last, (5, 1)), _conv(last, 1, (3, 1))])
        self.period = period

    def forward(self, waveform: Tensor) -> Verdict:
        """Judge (B, n)."""
        missing = -waveform.shape[1] % self.period
        filled = functional.pad(waveform[:, None], (0, missing), mode="reflect")
        return self.judge(filled.unflatten(2, (-1, self.period)))


class SpectrogramDiscriminator(_ConvStack):
    """Sees compressed STFT magnitudes, (frequency, time); its strides thin out the frequencies."""

    window: Tensor

    def __init__(self, n_fft: int, channels: int) -> None:
        thinning = [_conv(channels, channels, (9, 3), (2, 1)) for _ in range(3)]
        flat = _conv(channels, channels, (3, 3))
        super().__init__(
            [_conv(1, channels, (9, 3), (2, 1)), *thinning, flat, _conv(channels, 1, (3, 3))]
        )
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, waveform: Tensor) -> Verdict:
        """Judge (B, n)."""
        spectrum = torch.stft(
            waveform, self.n_fft, self.n_fft // 4, self.n_fft, self.window, return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square() + _FLOOR
        return self.judge(power.pow(_COMPRESSION / 2)[:, None])


class Discriminators(nn.Module):
    """All discriminators side by side."""

    def __init__(self, sizes: DiscriminatorSizes) -> None:
        super().__init__()
        self.judges = nn.ModuleList(
            [PeriodDiscriminator(period, sizes.period_channels) for period in sizes.periods]
            + [SpectrogramDiscriminator(n, sizes.spectrum_channels) for n in sizes.n_ffts]
        )

    def forward(self, waveform: Tensor) -> list[Verdict]:
        """Judge waveforms (B, n); one verdict each."""
        return [judge(waveform) for judge in self.judges]
