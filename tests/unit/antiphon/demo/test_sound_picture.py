"""The picture of a sound can be drawn of any sound, and shows where its energy is."""

import numpy as np
import pytest

from antiphon.demo.sound_picture import FLOOR_DB, N_MELS, PICTURE_RATE, draw, mel_decibels


def tone(hertz: float, n: int = PICTURE_RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(n) / PICTURE_RATE)).astype(np.float32)


def test_a_higher_tone_stands_higher():
    low, high = (mel_decibels(tone(hertz))[:, 20].argmax() for hertz in (300, 3000))
    assert low < high < N_MELS


def test_decibels_are_below_the_peak_and_bounded():
    decibels = mel_decibels(tone(440))
    assert decibels.max() == pytest.approx(0.0, abs=1e-4)
    assert decibels.min() >= FLOOR_DB - 1e-4


@pytest.mark.parametrize("n", [0, 1, 100, 50_000])
def test_any_length_can_be_drawn(n):
    for is_dark in (False, True):
        assert draw(tone(440, n), is_dark=is_dark).startswith(b"\x89PNG")
