"""Log-mel spectrogram of a waveform, as mel vocoders of the HiFi-GAN family define it.

Sources: Kong et al., "HiFi-GAN" (arXiv 2010.05646); mel scale of Slaney, "Auditory Toolbox" (1998).
"""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

_BREAK_HZ = 1000.0
_HZ_PER_MEL = 200.0 / 3.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27.0
_MAGNITUDE_FLOOR = 1e-9
_LOG_FLOOR = 1e-5


def hz_to_mel(hz: float) -> float:
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    if hz < _BREAK_HZ:
        return hz / _HZ_PER_MEL
    return _BREAK_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP


def mel_to_hz(mel: Tensor) -> Tensor:
    """Invert `hz_to_mel` for a tensor of any shape."""
    above = _BREAK_HZ * torch.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return torch.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, above)


@lru_cache(maxsize=8)
def mel_filters(
    sampling_rate: int, n_fft: int, num_mels: int, fmin: float, fmax: float | None
) -> Tensor:
    """Triangular mel filters of equal area.

    Args:
        sampling_rate: Hz.
        n_fft: Length of the Fourier transform in samples.
        num_mels: Number of filters.
        fmin: Lower edge of the first filter in Hz.
        fmax: Upper edge of the last one in Hz; None for half the sampling rate.

    Returns:
        (num_mels, n_fft // 2 + 1) float32 on the CPU. Shared: do not write to it.
    """
    top = sampling_rate / 2 if fmax is None else fmax
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sampling_rate / n_fft
    edges = mel_to_hz(
        torch.linspace(hz_to_mel(fmin), hz_to_mel(top), num_mels + 2, dtype=torch.float64)
    )
    widths = edges.diff()
    slopes = edges[:, None] - bins[None, :]  # (num_mels + 2, n_bins)
    rising = -slopes[:-2] / widths[:-1, None]
    falling = slopes[2:] / widths[1:, None]
    triangles = torch.minimum(rising, falling).clamp_min(0.0)
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).float()


def mel_spectrogram(
    y: Tensor,
    n_fft: int,
    num_mels: int,
    sampling_rate: int,
    hop_size: int,
    win_size: int,
    fmin: float,
    fmax: float | None,
    center: bool = False,
) -> Tensor:
    """Natural logarithm of the mel magnitude spectrogram.

    The waveform is reflected by (n_fft - hop_size) / 2 samples at both ends, so that n samples
    give n // hop_size frames when `center` is false.

    Args:
        y: (B, n_samples) in [-1, 1], longer than (n_fft - hop_size) / 2.
        n_fft: Length of the Fourier transform in samples.
        num_mels: Number of mel channels.
        sampling_rate: Hz.
        hop_size: Samples between frames.
        win_size: Length of the Hann window in samples.
        fmin: Lower edge of the first filter in Hz.
        fmax: Upper edge of the last one in Hz; None for half the sampling rate.
        center: Pad by n_fft / 2 once more at both ends.

    Returns:
        (B, num_mels, n_frames), at least log(1e-5).
    """
    margin = (n_fft - hop_size) // 2
    padded = functional.pad(y.unsqueeze(1), (margin, margin), mode="reflect").squeeze(1)
    window = torch.hann_window(win_size, dtype=y.dtype, device=y.device)
    spectrum = torch.view_as_real(
        torch.stft(
            padded,
            n_fft,
            hop_size,
            win_size,
            window,
            center=center,
            return_complex=True,
        )
    )
    magnitude = (spectrum.square().sum(-1) + _MAGNITUDE_FLOOR).sqrt()  # (B, n_bins, n_frames)
    filters = mel_filters(sampling_rate, n_fft, num_mels, float(fmin), fmax).to(magnitude)
    return torch.matmul(filters, magnitude).clamp_min(_LOG_FLOOR).log()
