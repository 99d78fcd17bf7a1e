"""The growing cache against transformers' own, rewinding, prefixes, bounds on idle sessions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from antiphon.engine.kv_cache import GROWTH, IdleCaches, KVCache
from tests.tiny_glm import make_tiny_glm


def filled(token_ids: list[int]) -> KVCache:
    cache = KVCache(1)
    states = torch.tensor(token_ids, dtype=torch.float32).reshape(1, 1, -1, 1)
    cache.layers.update(states, -states, 0)
    cache.append(token_ids)
    return cache


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, GROWTH + 40) | st.integers(-60, -1), min_size=1, max_size=12))
def test_appending_and_rewinding_in_any_order_keeps_what_a_list_keeps(moves: list[int]) -> None:
    cache, expected, following = KVCache(1), [], 0
    for move in moves:
        if move < 0:
            expected = expected[: max(0, len(expected) + move)]
            cache.rewind(len(expected))
        else:
            new = list(range(following, following + move))
            following += move
            expected = expected + new
            states = torch.tensor(new, dtype=torch.float32).reshape(1, 1, -1, 1)
            keys, values = cache.layers.update(states, -states, 0)
            cache.append(new)
            assert keys.flatten().tolist() == expected
            assert values.flatten().tolist() == [-value for value in expected]
        assert cache.token_ids == expected
        assert cache.layers.get_seq_length() == len(expected)


@pytest.mark.parametrize(
    ("cached", "prompt", "kept"),
    [
        ([1, 2, 3], [1, 2, 3, 4], 3),
        ([1, 2, 3], [1, 2, 9, 4], 2),
        ([1, 2, 3], [1, 2, 3], 2),  # the last one has to be run for its scores
        ([1, 2, 3], [1], 0),
        ([1, 2, 3], [7, 2, 3], 0),
    ],
)
def test_the_common_prefix_is_kept(cached: list[int], prompt: list[int], kept: int) -> None:
    cache = filled(cached)
    assert cache.keep_common_prefix(prompt) == kept
    assert cache.token_ids == prompt[:kept]
    assert cache.layers.get_seq_length() == kept


@torch.inference_mode()
def test_the_model_computes_the_same_as_with_its_own_cache() -> None:
    model = make_tiny_glm()
    own, theirs = KVCache(2), DynamicCache()
    generator = torch.Generator().manual_seed(5)
    for length in (7, 1, 30, 1, 1):
        ids = torch.randint(0, 300, (1, length), generator=generator)
        first = model(ids, past_key_values=own.layers, use_cache=True).logits
        second = model(ids, past_key_values=theirs, use_cache=True).logits
        torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-6)


def test_the_longest_idle_sessions_are_dropped_first() -> None:
    idle = IdleCaches(max_sessions=2, max_tokens=100)
    for name in ("a", "b", "c"):
        idle.put(name, filled([1, 2]))
    assert idle.take("a") is None
    assert idle.take("b") is not None
    assert idle.take("b") is None, "a cache belongs to whoever took it"
    assert idle.n_tokens == 2


def test_idle_sessions_hold_a_bounded_number_of_tokens() -> None:
    idle = IdleCaches(max_sessions=50, max_tokens=10)
    for number in range(20):
        idle.put(str(number), filled([1, 2, 3]))
    assert idle.n_tokens <= 10
    assert idle.take("19") is not None
    idle.put("huge", filled(list(range(11))))
    assert len(idle) == 0
