"""Stretching repeats the right frames, alone and in a batch."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from cosyvoice.flow.length_regulator import InterpolateRegulator, stretch


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300))
def test_stretch_is_nearest_interpolation(n_tokens: int) -> None:
    n_frames = n_tokens * 441 // 64
    x = torch.arange(n_tokens, dtype=torch.float32).expand(1, 2, -1)
    got = stretch(x, torch.tensor([n_tokens]), torch.tensor([n_frames]), n_frames)
    assert torch.equal(got, functional.interpolate(x, size=n_frames))


@torch.no_grad()
def test_items_of_a_batch_come_out_as_alone() -> None:
    regulator = InterpolateRegulator(8, [1, 1])
    x = torch.randn(2, 10, 8, generator=torch.Generator().manual_seed(1))
    lens, frames = torch.tensor([10, 7]), torch.tensor([68, 48])
    together, _ = regulator(x, frames, lens)
    alone, _ = regulator(x[1:, :7], frames[1:])
    assert together.shape == (2, 68, 8)
    assert torch.allclose(together[1, :48], alone[0], atol=1e-5)
    assert not together[1, 48:].any()
    assert not torch.allclose(regulator(x, frames)[0][1, :48], alone[0], atol=1e-3)
