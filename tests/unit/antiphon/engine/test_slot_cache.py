"""Slots: how many fit, where tokens go, and what is left after clearing."""

import pytest
import torch

from antiphon.engine.attention import Heads
from antiphon.engine.slot_cache import CacheShape, SlotCache, cache_memory, count_slots
from antiphon.errors import ConfigError

CPU = torch.device("cpu")
HEADS = Heads(n_key_heads=3, group_size=1, size=4, dtype=torch.float32)
SHAPE = CacheShape(n_layers=2, heads=HEADS, n_tokens=300)


def test_the_size_of_a_slot_is_the_size_of_its_tensors() -> None:
    assert SHAPE.capacity == 512
    one, two = (SlotCache(SHAPE, n, CPU) for n in (1, 2))
    sizes = [sum(layer.nbytes for layer in c.states) for c in (one, two)]
    assert sizes[1] - sizes[0] == SHAPE.slot_bytes


def test_as_many_slots_as_wanted_but_no_more_than_fit() -> None:
    assert count_slots(SHAPE, 5, 100 * SHAPE.slot_bytes) == 5
    assert count_slots(SHAPE, 5, 3 * SHAPE.slot_bytes + 1) == 3
    with pytest.raises(ConfigError, match="300 tokens need"):
        count_slots(SHAPE, 5, SHAPE.slot_bytes - 1)


def test_there_is_memory_to_use() -> None:
    assert cache_memory(CPU) > 2**20


def test_tokens_go_where_they_belong_and_nowhere_else() -> None:
    cache = SlotCache(SHAPE, 2, CPU)
    new = torch.randn(3, 2, 3, 4)
    slots, positions = torch.tensor([0, 1, 1]), torch.tensor([7, 0, 511])
    cache.write(1, slots, positions, new)
    for token, (slot, position) in enumerate(zip(slots, positions, strict=True)):
        assert torch.equal(cache.states[1][:, slot, :, position], new[token])
    assert int((cache.states[1] != 0).sum()) == new.numel()
    assert not cache.states[0].any()


def test_clearing_a_slot_leaves_the_others() -> None:
    cache = SlotCache(SHAPE, 2, CPU)
    for layer in cache.states:
        layer.fill_(float("nan"))
    cache.clear(0, 100)
    for layer in cache.states:
        assert not layer[:, 0, :, :100].any()
        assert layer[:, 0, :, 100:].isnan().all()
        assert layer[:, 1:].isnan().all()
