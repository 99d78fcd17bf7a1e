"""Discriminators of waveforms: what they give out, and that each hears its part of a signal."""

import pytest
import torch

from cosyvoice.hifigan.discriminator import (
    Discriminators,
    DiscriminatorSizes,
    PeriodDiscriminator,
    SpectrogramDiscriminator,
)

SIZES = DiscriminatorSizes((2, 3), (4, 8), (64, 128), 4)


def noise(n: int = 1000) -> torch.Tensor:
    return torch.randn(2, n, generator=torch.Generator().manual_seed(1))


def test_one_verdict_each() -> None:
    verdicts = Discriminators(SIZES)(noise())
    assert len(verdicts) == 4
    for verdict in verdicts:
        assert verdict.scores.shape[:2] == (2, 1)
        assert all(feature.shape[0] == 2 for feature in verdict.features)
        assert len(verdict.features) >= 3


@pytest.mark.parametrize(("n", "rows"), [(999, 333), (1000, 334), (1001, 334), (1003, 335)])
def test_any_length_can_be_folded(n: int, rows: int) -> None:
    scores = PeriodDiscriminator(3, (4,))(noise(n)).scores
    assert scores.shape == (2, 1, -(-rows // 3), 3)


def test_columns_do_not_mix() -> None:
    """A sample touches only the scores of its own place in the period."""
    judge = PeriodDiscriminator(5, (4, 8))
    wave = noise()
    other = wave.clone()
    other[:, 500] += 1.0
    moved = (judge(wave).scores != judge(other).scores).any(dim=(0, 1, 2))
    assert moved.tolist() == [True, False, False, False, False]


def test_a_spectrogram_discriminator_keeps_time_and_thins_frequency() -> None:
    verdict = SpectrogramDiscriminator(128, 4)(noise(1024))
    assert verdict.features[0].shape == (2, 4, 33, 33)
    assert verdict.scores.shape == (2, 1, 5, 33)


def test_silence_has_a_gradient() -> None:
    wave = torch.zeros(1, 1024, requires_grad=True)
    sum(verdict.scores.sum() for verdict in Discriminators(SIZES)(wave)).backward()
    assert wave.grad is not None
    assert torch.isfinite(wave.grad).all()
