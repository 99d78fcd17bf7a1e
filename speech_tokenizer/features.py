"""Log-mel features of Whisper: waveforms at 16 kHz to (n_mels, n_frames) at 100 Hz.

Knows nothing of models. Sources: Radford et al., "Robust Speech Recognition via Large-Scale Weak
Supervision", section 2.2 (features); Slaney, "Auditory Toolbox" (1998), for the mel scale.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

SAMPLE_RATE = 16_000  # Hz
N_FFT = 400  # samples, 25 ms
HOP_LENGTH = 160  # samples, 10 ms
FRAME_SIZE = 1280  # samples of one speech token, 80 ms

_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27.0
_FLOOR = 1e-10
_DYNAMIC_RANGE = 8.0  # powers of ten below the loudest value of the utterance


@dataclass(frozen=True)
class MelBatch:
    """Features of several utterances, padded on the right.

    Attributes:
        input_features: (B, n_mels, n_frames) float32.
        attention_mask: (B, n_frames) int32, 1 where a frame starts before the utterance's end.
    """

    input_features: Tensor
    attention_mask: Tensor


def _mel_to_hz(mel: Tensor) -> Tensor:
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    above = _BREAK_HZ * torch.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return torch.where(mel < _BREAK_MEL, mel * _LINEAR_HZ_PER_MEL, above)


@lru_cache(maxsize=8)
def mel_filters(n_mels: int) -> Tensor:
    """Triangular filters of unit area on Slaney's scale, 0 to 8 kHz: (n_mels, 201) float32."""
    top_hz = SAMPLE_RATE / 2
    top_mel = _BREAK_MEL + math.log(top_hz / _BREAK_HZ) / _LOG_STEP
    edges = _mel_to_hz(torch.linspace(0.0, top_mel, n_mels + 2, dtype=torch.float64))
    bins = torch.linspace(0.0, top_hz, N_FFT // 2 + 1, dtype=torch.float64)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]  # (n_mels, 201)
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = torch.minimum(rising, falling).clamp(min=0.0)
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).float()


def log_mel_spectrogram(waveform: Tensor, n_mels: int = 128) -> Tensor:
    """Turn waveforms of equal length into log-mel features.

    Args:
        waveform: Audio at 16 kHz in [-1, 1], (n_samples,) or (B, n_samples), longer than
            200 samples; on any device.
        n_mels: Mel bands.

    Returns:
        (n_mels, n_samples // 160) or (B, n_mels, n_samples // 160) float32: log10 power, at most 8
        below the loudest value of the same row, moved and scaled by (x + 4) / 4.
    """
    window = torch.hann_window(N_FFT, device=waveform.device)
    stft = torch.stft(waveform.float(), N_FFT, HOP_LENGTH, window=window, return_complex=True)
    log_mel = log_mel_power(stft[..., :-1], n_mels)  # the frame past the end is left out
    return scale_log_mel(log_mel, log_mel.amax(dim=(-2, -1), keepdim=True))


def log_mel_power(stft: Tensor, n_mels: int) -> Tensor:
    """Turn spectra (..., 201, n_frames) into log10 power by mel band, (..., n_mels, n_frames)."""
    mel = mel_filters(n_mels).to(stft.device) @ stft.abs().square()
    return mel.clamp(min=_FLOOR).log10()


def scale_log_mel(log_mel: Tensor, loudest: Tensor) -> Tensor:
    """Lift values of log10 power more than 8 below `loudest`; move and scale by (x + 4) / 4."""
    return (torch.maximum(log_mel, loudest - _DYNAMIC_RANGE) + 4.0) / 4.0


def pad_waveforms(waveforms: Sequence[Tensor], multiple: int = FRAME_SIZE) -> Tensor:
    """Put waveforms (n_i,) into one (B, n), zeros on the right; n is a multiple of `multiple`."""
    longest = max(waveform.shape[-1] for waveform in waveforms)
    n_samples = max(-(-longest // multiple), 1) * multiple
    padded = waveforms[0].new_zeros(len(waveforms), n_samples)
    for row, waveform in zip(padded, waveforms, strict=True):
        row[: waveform.shape[-1]] = waveform
    return padded


def frame_mask(lengths: Sequence[int], n_frames: int, device: torch.device | None = None) -> Tensor:
    """Return (B, n_frames) int32, 1 where a 10 ms frame starts before sample `lengths[i]`."""
    starts = torch.arange(n_frames, device=device) * HOP_LENGTH
    ends = torch.tensor(list(lengths), device=device).unsqueeze(-1)
    return (starts < ends).to(torch.int32)


def extract_features(
    waveforms: Sequence[Tensor], n_mels: int = 128, multiple: int = FRAME_SIZE
) -> MelBatch:
    """Turn waveforms of any lengths (n_i,) at 16 kHz into one padded batch of features."""
    features = log_mel_spectrogram(pad_waveforms(waveforms, multiple), n_mels)
    lengths = [waveform.shape[-1] for waveform in waveforms]
    return MelBatch(features, frame_mask(lengths, features.shape[-1], features.device))
