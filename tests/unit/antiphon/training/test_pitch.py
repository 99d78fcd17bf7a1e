"""Pitch and phase of signals whose pitch and phase are known."""

import numpy as np
import pytest

from antiphon.training.pitch import analyse_pitch

RATE, HOP = 22_050, 256


def harmonics(f0: float, n_frames: int, phase: float = 0.0) -> np.ndarray:
    """A steady voice: ten falling harmonics with the fundamental at `phase` cycles."""
    time = np.arange(n_frames * HOP) / RATE
    numbers = np.arange(1, 11)[:, None]
    waves = np.cos(2 * np.pi * (numbers * f0 * time + phase * (numbers == 1))) / numbers
    return (0.2 * waves.sum(0)).astype(np.float32)


@pytest.mark.parametrize("f0", [95.0, 172.3, 240.0])
def test_frequency(f0: float) -> None:
    pitch = analyse_pitch(harmonics(f0, 40), 40, HOP, RATE)
    assert np.abs(pitch.f0[3:-3] - f0).max() < 1.0


def test_phase_runs_on_with_the_signal() -> None:
    f0, phase = 180.0, 0.3
    pitch = analyse_pitch(harmonics(f0, 40, phase), 40, HOP, RATE)
    expected = f0 * np.arange(41) * HOP / RATE + phase
    error = pitch.cycles - expected
    assert np.abs(error - np.round(error))[3:-3].max() < 0.03
    assert np.abs(np.diff(pitch.cycles)[3:-3] - f0 * HOP / RATE).max() < 0.02


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_silence_and_noise_have_no_pitch(level: float) -> None:
    noise = level * np.random.default_rng(1).standard_normal(30 * HOP)
    pitch = analyse_pitch(noise.astype(np.float32), 30, HOP, RATE)
    assert (pitch.f0 > 0).mean() < 0.1
    assert pitch.cycles.shape == (31,)
