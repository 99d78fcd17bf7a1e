"""Attention over slots: right, and to the bit the same however the tokens are cut up."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from antiphon.engine.attention import KEY_BLOCK, attend, attend_at_once, find_reaches

CAPACITY = 5 * KEY_BLOCK
SIZES = [(2, 2, 64), (2, 3, 16), (1, 16, 128), (2, 1, 8)]
"""Key heads, query heads of each, head size."""


def random_states(n_key_heads: int, group_size: int, width: int) -> list[Tensor]:
    """Make queries (1, T, H, D), keys and values (3, K, T, D)."""
    generator = torch.Generator().manual_seed(width)
    sizes = [(1, CAPACITY, n_key_heads * group_size, width)]
    sizes += [(3, n_key_heads, CAPACITY, width)] * 2
    return [torch.randn(size, generator=generator) for size in sizes]


def attend_span(states: list[Tensor], start: int, end: int) -> Tensor:
    """Attend from positions `start` to `end` in slot 1."""
    queries, keys, values = states
    positions = torch.arange(start, end)[None]
    group_size = queries.shape[2] // keys.shape[1]
    reaches = find_reaches([1], [end], positions, group_size, torch.float32)
    return attend(queries[:, start:end], keys, values, reaches)


@pytest.mark.parametrize("sizes", SIZES)
def test_it_equals_causal_attention_with_repeated_keys(sizes: tuple[int, int, int]) -> None:
    queries, keys, values = states = random_states(*sizes)
    repeated = [each[1:2].repeat_interleave(sizes[1], dim=1) for each in (keys, values)]
    expected = F.scaled_dot_product_attention(queries.transpose(1, 2), *repeated, is_causal=True)
    torch.testing.assert_close(
        attend_span(states, 0, CAPACITY), expected.transpose(1, 2).flatten(2), atol=1e-5, rtol=1e-5
    )


needs_mkl = pytest.mark.skipif(
    not torch.backends.mkl.is_available(), reason="needs MKL, for which the sizes were measured"
)


@needs_mkl
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("length", [1, 4, 20])
def test_a_token_has_the_same_bits_alone_and_in_a_chunk(
    sizes: tuple[int, int, int], length: int
) -> None:
    states = random_states(*sizes)
    whole = attend_span(states, 0, CAPACITY)
    for end in (20, 63, 64, 192, 255, 256, 257, 300, 384, 512, 640, 900, 1025, CAPACITY):
        span = attend_span(states, end - length, end)
        assert torch.equal(span, whole[:, end - length : end]), f"tokens up to {end}"


def test_rows_do_not_see_each_other_and_padding_is_zero() -> None:
    queries, keys, values = random_states(2, 2, 64)
    positions = torch.tensor([[30], [700], [0], [0]])
    batch = queries[0, [30, 700, 5, 6]][:, None]  # (4, 1, H, D), two rows of padding
    reaches = find_reaches([1, 2], [31, 701], positions, 2, torch.float32)
    both = attend(batch, keys, values, reaches)
    assert torch.equal(both[:1], attend_span([queries, keys, values], 30, 31))
    alone = attend(
        batch[1:2], keys, values, find_reaches([2], [701], positions[1:2], 2, torch.float32)
    )
    assert torch.equal(both[1:2], alone)
    assert not both[2:].any()


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("length", [1, 3])
def test_all_rows_at_once_give_the_same(sizes: tuple[int, int, int], length: int) -> None:
    queries, keys, values = random_states(*sizes)
    starts, slots = (30, 700, KEY_BLOCK - length, 0), (1, 2, 0, 1)
    positions = torch.stack([torch.arange(start, start + length) for start in starts])
    batch = torch.stack([queries[0, start : start + length] for start in starts])
    reaches = find_reaches(
        slots[:3], [start + length for start in starts[:3]], positions, sizes[1], torch.float32
    )  # the last row is padding
    one_by_one = attend(batch, keys, values, reaches)
    at_once = attend_at_once(batch, keys, values, reaches, torch.tensor(slots))
    torch.testing.assert_close(at_once[:3], one_by_one[:3], atol=1e-5, rtol=1e-5)
    assert at_once.isfinite().all()
