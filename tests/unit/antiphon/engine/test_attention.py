"""Attention over slots: right, and to the bit the same however the tokens are cut up."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from antiphon.engine.attention import KEY_BLOCK, Heads, attend, find_spans, group_rows
from tests.programs import needs_mkl

CAPACITY = 5 * KEY_BLOCK
SIZES = [(2, 2, 64), (2, 3, 16), (1, 16, 128), (2, 1, 8)]
"""Key heads, query heads of each, head size."""


N_SLOTS = 6


def random_states(n_key_heads: int, group_size: int, width: int) -> tuple[Tensor, Tensor]:
    """Make queries (1, T, H, D), and keys and values (2, slots, K, T, D)."""
    generator = torch.Generator().manual_seed(width)
    sizes = (
        (1, CAPACITY, n_key_heads * group_size, width),
        (2, N_SLOTS, n_key_heads, CAPACITY, width),
    )
    queries, states = (torch.randn(size, generator=generator) for size in sizes)
    return queries, states


def heads_of(sizes: tuple[int, int, int]) -> Heads:
    return Heads(*sizes, torch.float32)


def attend_span(queries: Tensor, states: Tensor, start: int, end: int, slot: int = 1) -> Tensor:
    """Attend from positions `start` to `end` in one slot."""
    n_key_heads = states.shape[2]
    heads = Heads(n_key_heads, queries.shape[2] // n_key_heads, queries.shape[3], torch.float32)
    spans = find_spans([slot], [end], torch.arange(start, end)[None], heads)
    return attend(queries[:, start:end], states, spans)


@pytest.mark.parametrize("sizes", SIZES)
def test_it_equals_causal_attention_with_repeated_keys(sizes: tuple[int, int, int]) -> None:
    queries, states = random_states(*sizes)
    repeated = [each[1:2].repeat_interleave(sizes[1], dim=1) for each in states]
    expected = F.scaled_dot_product_attention(queries.transpose(1, 2), *repeated, is_causal=True)
    torch.testing.assert_close(
        attend_span(queries, states, 0, CAPACITY),
        expected.transpose(1, 2).flatten(2),
        atol=1e-5,
        rtol=1e-5,
    )


@needs_mkl
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("length", [1, 4, 20])
def test_a_token_has_the_same_bits_alone_and_in_a_chunk(
    sizes: tuple[int, int, int], length: int
) -> None:
    queries, states = random_states(*sizes)
    whole = attend_span(queries, states, 0, CAPACITY)
    for end in (20, 63, 64, 192, 255, 256, 257, 300, 384, 512, 640, 900, 1025, CAPACITY):
        span = attend_span(queries, states, end - length, end)
        assert torch.equal(span, whole[:, end - length : end]), f"tokens up to {end}"


ENDS = (31, 701, 300, 1, 257, 900)
"""Keys in each slot."""


@needs_mkl
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(
    "slots",
    [(1,), (1, 2), (0, 1, 2, 3, 4, 5), (4, 0), (5, 3, 1), (0, 2, 3), (2, 1, 0), (1, 2, 3, 5)],
)
def test_a_row_has_the_same_bits_whichever_rows_it_is_computed_with(
    sizes: tuple[int, int, int], slots: tuple[int, ...]
) -> None:
    queries, states = random_states(*sizes)
    ends = [ENDS[slot] for slot in slots]
    n_padding = -len(slots) % 4
    positions = torch.tensor([end - 1 for end in ends] + [0] * n_padding)[:, None]
    batch = queries[0, positions]  # (B, 1, H, D)
    found = attend(batch, states, find_spans(slots, ends, positions, heads_of(sizes)))
    for row, (slot, end) in enumerate(zip(slots, ends, strict=True)):
        assert torch.equal(found[row], attend_span(queries, states, end - 1, end, slot)[0])
    assert not found[len(slots) :].any(), "padding is zero"


def test_what_is_not_finite_stays_in_its_slot() -> None:
    queries, states = random_states(2, 2, 64)
    expected = attend_span(queries, states, 30, 31)[0]
    states[:, 2] = float("nan")
    positions = torch.tensor([[30], [700], [30], [0]])
    spans = find_spans([1, 2, 3], [31, 701, 31], positions, heads_of((2, 2, 64)))
    found = attend(queries[0, positions], states, spans)
    assert torch.equal(found[0], expected)
    assert found[1].isnan().all()
    assert found[2].isfinite().all()


def test_rows_near_each_other_are_put_together_unless_too_much_is_computed_in_vain() -> None:
    assert group_rows([3, 1, 2], [256] * 3) == [[1, 2, 0]]
    assert group_rows([0, 1, 9], [256] * 3) == [[0, 1], [2]]
    assert group_rows([0, 2], [256] * 2) == [[0, 1]]
    assert group_rows([0, 1, 2], [256, 256, 2048]) == [[0, 1], [2]]
    assert group_rows([5], [512]) == [[0]]
