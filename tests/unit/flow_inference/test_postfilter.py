"""Peaks of a mel are raised frame by frame, and flat parts stay."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flow_inference.postfilter import N_AROUND, raise_contrast


def test_a_peak_is_raised_and_what_is_around_it_lowered() -> None:
    mel = torch.zeros(80, 2)
    mel[40, 0] = 9.0
    raised = raise_contrast(mel, 0.5)
    assert float(raised[40, 0]) == 9.0 + 0.5 * (9.0 - 1.0)
    around = [*range(40 - N_AROUND, 40), *range(41, 41 + N_AROUND)]
    assert raised[around, 0].tolist() == [-0.5] * len(around)
    assert raised[:, 1].abs().max() == 0
    raised[[40, *around], 0] = 0
    assert raised.abs().max() == 0


def test_levels_and_edges_stay() -> None:
    level = torch.full((80, 3), -4.25)
    torch.testing.assert_close(raise_contrast(level, 1.0), level)
    slope = torch.linspace(-8, 2, 80)[:, None].repeat(1, 3)
    within = slice(N_AROUND, -N_AROUND)
    torch.testing.assert_close(raise_contrast(slope, 1.0)[within], slope[within])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 9))
def test_pieces_give_what_the_whole_gives(n_first: int, n_then: int, seed: int) -> None:
    mel = torch.randn(80, n_first + n_then, generator=torch.Generator().manual_seed(seed))
    pieces = [raise_contrast(piece, 0.3) for piece in mel.split([n_first, n_then], dim=1)]
    assert torch.equal(torch.cat(pieces, dim=1), raise_contrast(mel, 0.3))


def test_no_contrast_changes_nothing() -> None:
    mel = torch.randn(80, 5, generator=torch.Generator().manual_seed(1))
    assert raise_contrast(mel, 0.0) is mel
