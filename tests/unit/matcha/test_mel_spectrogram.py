"""The mel spectrogram against an independent implementation."""

import librosa
import numpy as np
import pytest
import torch

from matcha.utils.audio import mel_filters, mel_spectrogram


@pytest.mark.parametrize(
    ("rate", "n_fft", "n_mels", "highest"), [(22050, 1024, 80, 8000), (16000, 400, 128, None)]
)
def test_filters_are_slaneys(rate: int, n_fft: int, n_mels: int, highest: float | None) -> None:
    expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=0, fmax=highest)
    assert np.abs(mel_filters(rate, n_fft, n_mels, 0.0, highest).numpy() - expected).max() < 1e-7


def test_spectrogram_is_its_formula() -> None:
    waveform = 0.3 * torch.randn(2, 2560, generator=torch.Generator().manual_seed(1))
    got = mel_spectrogram(waveform, 1024, 80, 22050, 256, 1024, 0, 8000)
    filters = librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=0, fmax=8000)
    padded = np.pad(waveform.numpy(), ((0, 0), (384, 384)), mode="reflect").astype(np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    frames = np.stack([padded[:, i * 256 : i * 256 + 1024] * window for i in range(10)], 1)
    magnitude = np.sqrt(np.abs(np.fft.rfft(frames)) ** 2 + 1e-9)
    expected = np.log(np.maximum(magnitude @ filters.T, 1e-5))
    assert got.shape == (2, 80, 10)
    assert np.abs(got.numpy() - expected.transpose(0, 2, 1)).max() < 1e-4


def test_silence_is_the_floor() -> None:
    got = mel_spectrogram(torch.zeros(1, 5120), 1024, 80, 22050, 256, 1024, 0, 8000)
    assert got.shape == (1, 80, 20)
    assert torch.allclose(got, torch.full_like(got, np.log(1e-5)), atol=0.2)
