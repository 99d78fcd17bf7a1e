"""Losses between waveforms for the vocoder: magnitudes at several resolutions, mel, phase.

Source: Yamamoto et al., "Parallel WaveGAN" (arXiv 1910.11480), the multi-resolution STFT loss.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.training.vocoder_data import log_mel

RESOLUTIONS = ((256, 64), (512, 128), (1024, 256), (2048, 512))
_FLOOR = 1e-5
_LOG_FLOOR = 1e-4


def _stft(waveform: Tensor, n_fft: int, hop: int) -> Tensor:
    """Complex STFT (B, bins, T) of (B, n)."""
    window = torch.hann_window(n_fft, device=waveform.device)
    return torch.stft(waveform, n_fft, hop, n_fft, window, return_complex=True)


def _magnitude(spectrum: Tensor) -> Tensor:
    """Absolute values with a gradient at zero."""
    return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + _FLOOR**2)


class VocoderLoss(nn.Module):
    """Sum of spectral losses between a waveform and its target, both (B, n)."""

    def __init__(self, phase_weight: float, mel_weight: float) -> None:
        super().__init__()
        self.phase_weight, self.mel_weight = phase_weight, mel_weight

    def forward(self, waveform: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the parts of the loss by name; `total` is their weighted sum."""
        magnitude = waveform.new_zeros(())
        phase = waveform.new_zeros(())
        for n_fft, hop in RESOLUTIONS:
            got, wanted = _stft(waveform, n_fft, hop), _stft(target, n_fft, hop)
            got_size, wanted_size = _magnitude(got), _magnitude(wanted)
            distance = torch.linalg.vector_norm(got_size - wanted_size)
            magnitude = magnitude + distance / torch.linalg.vector_norm(wanted_size)
            logs = functional.l1_loss(
                got_size.clamp(min=1e-4).log(), wanted_size.clamp(min=1e-4).log()
            )
            magnitude = magnitude + logs
            if n_fft in (512, 1024):
                phase = phase + _magnitude(got - wanted).mean() / wanted_size.mean()
        mel = functional.l1_loss(log_mel(waveform), log_mel(target))
        magnitude = magnitude / len(RESOLUTIONS)
        total = magnitude + self.phase_weight * phase + self.mel_weight * mel
        return {"total": total, "magnitude": magnitude, "phase": phase, "mel": mel}
