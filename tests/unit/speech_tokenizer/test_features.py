"""Log-mel features against librosa's filters and a frame-by-frame formula in float64."""

import librosa
import numpy as np
import numpy.typing as npt
import pytest
import torch

from speech_tokenizer.features import (
    extract_features,
    frame_mask,
    log_mel_spectrogram,
    mel_filters,
    pad_waveforms,
)


def noise(n_samples: int, seed: int = 0) -> torch.Tensor:
    return 0.3 * torch.randn(n_samples, generator=torch.Generator().manual_seed(seed))


def slow_log_mel(waveform: npt.NDArray[np.float32], n_mels: int) -> npt.NDArray[np.float64]:
    """The textbook way: reflect, window and transform each frame by itself."""
    padded = np.pad(waveform.astype(np.float64), 200, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = [padded[i : i + 400] * window for i in range(0, len(waveform) - 159, 160)]
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    mel = librosa.filters.mel(sr=16_000, n_fft=400, n_mels=n_mels, dtype=np.float64) @ power.T
    log_mel = np.log10(np.maximum(mel, 1e-10))
    return (np.maximum(log_mel, log_mel.max() - 8) + 4) / 4


@pytest.mark.parametrize("n_mels", [40, 80, 128])
def test_filters_are_slaneys(n_mels: int) -> None:
    expected = librosa.filters.mel(sr=16_000, n_fft=400, n_mels=n_mels)
    np.testing.assert_allclose(mel_filters(n_mels).numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("n_samples", [320, 1280, 16_001])
def test_features_follow_the_formula(n_samples: int) -> None:
    waveform = noise(n_samples)
    found = log_mel_spectrogram(waveform, 80).numpy()
    assert found.shape == (80, n_samples // 160)
    np.testing.assert_allclose(
        found, slow_log_mel(waveform.numpy(), 80)[:, : found.shape[1]], atol=1e-4
    )


def test_rows_of_a_batch_do_not_touch_each_other() -> None:
    loud, quiet = noise(3200), 1e-3 * noise(3200, seed=1)
    batch = log_mel_spectrogram(torch.stack([loud, quiet]))
    torch.testing.assert_close(batch[0], log_mel_spectrogram(loud))
    torch.testing.assert_close(batch[1], log_mel_spectrogram(quiet))


def test_silence_is_finite() -> None:
    assert torch.all(log_mel_spectrogram(torch.zeros(1280)) == (-10 + 4) / 4)


def test_padding_fills_whole_tokens_with_zeros() -> None:
    padded = pad_waveforms([torch.ones(1), torch.ones(1281)])
    assert padded.shape == (2, 2560)
    assert padded.sum(dim=1).tolist() == [1, 1281]


def test_mask_counts_frames_that_start_inside() -> None:
    mask = frame_mask([1, 160, 161, 1280], 8)
    assert mask.sum(dim=1).tolist() == [1, 1, 2, 8]
    assert mask[2].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]


def test_batch_of_unequal_lengths() -> None:
    batch = extract_features([noise(5000), noise(700)], n_mels=80)
    assert batch.input_features.shape == (2, 80, 32)  # 5000 -> 5120 samples
    assert batch.attention_mask.sum(dim=1).tolist() == [32, 5]
