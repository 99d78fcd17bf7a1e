"""Slots from turn to turn: reuse, rewinding, forgetting the longest idle, and no slot lost."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engine.attention import Heads
from antiphon.engine.slot_cache import CacheShape, SlotCache
from antiphon.engine.slot_pool import Conversation, SlotPool

HEADS = Heads(n_key_heads=1, group_size=1, size=2, dtype=torch.float32)
SHAPE = CacheShape(n_layers=1, heads=HEADS, n_tokens=8)


def make_cache(n_slots: int) -> SlotCache:
    return SlotCache(SHAPE, n_slots, torch.device("cpu"))


def said(pool: SlotPool, session_id: str, *token_ids: int) -> Conversation:
    """Let a session take a slot and store tokens in it."""
    conversation = pool.take(session_id)
    conversation.append(token_ids)
    return conversation


@pytest.mark.parametrize(
    ("stored", "prompt", "kept"),
    [
        ([1, 2, 3], [1, 2, 3, 4], 3),
        ([1, 2, 3], [1, 2, 9, 4], 2),
        ([1, 2, 3], [1, 2, 3], 2),  # the last one has to be run for its scores
        ([1, 2, 3], [1], 0),
        ([1, 2, 3], [7, 2, 3], 0),
        ([], [7], 0),
    ],
)
def test_the_common_prefix_is_kept(stored: list[int], prompt: list[int], kept: int) -> None:
    conversation = Conversation(0)
    conversation.append(stored)
    assert conversation.keep_common_prefix(prompt) == kept
    assert conversation.token_ids == prompt[:kept]
    assert conversation.n_written == len(stored)


def test_a_session_finds_its_conversation_again_once() -> None:
    pool = SlotPool(make_cache(2))
    first = said(pool, "s", 1, 2)
    pool.keep("s", first)
    assert pool.take("s") is first
    assert pool.take("s") is not first, "it belongs to whoever took it"


def test_the_longest_idle_conversation_is_forgotten_first() -> None:
    pool = SlotPool(make_cache(2))
    for name in ("a", "b"):
        pool.keep(name, said(pool, name, 1))
    again = pool.take("a")
    pool.keep("a", again)
    assert pool.take(None).token_ids == []
    assert pool.take("a") is again, "b was idle for longer"
    assert pool.n_free == pool.n_idle == 0


def test_a_session_keeps_one_conversation() -> None:
    pool = SlotPool(make_cache(2))
    one, two = pool.take("s"), pool.take("s")
    pool.keep("s", one)
    pool.keep("s", two)
    assert (pool.n_free, pool.n_idle) == (1, 1)
    assert pool.take("s") is two


def test_nothing_is_left_in_a_slot_that_is_free() -> None:
    cache = make_cache(1)
    pool = SlotPool(cache)
    conversation = said(pool, "s", 1, 2, 3, 4)
    cache.states[0][1, conversation.slot, :, :4] = float("nan")
    conversation.keep_common_prefix([1, 9])  # what was forgotten is still there
    pool.drop(conversation)
    assert not cache.states[0][:, conversation.slot].any()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_slot_is_lost_or_given_twice(data: st.DataObject) -> None:
    n_slots = data.draw(st.integers(1, 4))
    pool, taken = SlotPool(make_cache(n_slots)), []
    for _ in range(data.draw(st.integers(1, 30))):
        name = data.draw(st.sampled_from("abcde"))
        if taken and data.draw(st.booleans()):
            conversation = taken.pop(data.draw(st.integers(0, len(taken) - 1)))
            if data.draw(st.booleans()):
                pool.keep(name, conversation)
            else:
                pool.drop(conversation)
        elif len(taken) < n_slots:
            taken.append(pool.take(name))
        assert len({each.slot for each in taken}) == len(taken)
        assert pool.n_free + pool.n_idle + len(taken) == n_slots
