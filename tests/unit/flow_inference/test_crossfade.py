"""Counting frames and fading between blocks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flow_inference.crossfade import FrameClock, crossfade, fade_in_weights


@given(st.integers(0, 2000))
def test_frames_are_rounded_down_once(n_tokens: int) -> None:
    clock = FrameClock()
    assert clock.frames(n_tokens) == int(n_tokens / 12.5 * 22050 / 256)
    assert clock.samples(n_tokens) == 256 * clock.frames(n_tokens)


def test_frames_are_exact_where_floating_point_is_not() -> None:
    assert FrameClock().frames(2240) == 2240 * 441 // 64


def test_weights_rise_and_stay_inside() -> None:
    weights = fade_in_weights(5)
    assert (weights.diff() > 0).all()
    assert weights[0] > 0
    assert weights[-1] < 1
    assert torch.allclose(weights + weights.flip(0), torch.ones(5))


@pytest.mark.parametrize("n_old", [0, 3, 8])
def test_crossfade_keeps_length_and_equal_signals(n_old: int) -> None:
    new = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    before = new.clone()
    assert torch.allclose(crossfade(new[:, :n_old], new), new)
    assert torch.equal(new, before)


def test_crossfade_goes_from_old_to_new() -> None:
    mixed = crossfade(torch.zeros(1, 4), torch.ones(1, 6))
    assert torch.allclose(mixed, torch.tensor([[0.2, 0.4, 0.6, 0.8, 1.0, 1.0]]))
