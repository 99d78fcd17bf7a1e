"""Keys and values of many conversations in buffers of fixed size, one slot a conversation.

Knows nothing of requests or token ids; `slot_pool.py` keeps account of what lies where.
"""

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.engine.attention import KEY_BLOCK, Heads, round_up
from antiphon.errors import ConfigError

MEMORY_SHARE = 4
"""One part in so many of a computer's memory may hold keys and values."""

FREE_SHARE = 2
"""One part in so many of what a model leaves free on an accelerator may hold them."""


@dataclass(frozen=True)
class CacheShape:
    """The sizes of a slot cache.

    Attributes:
        n_layers: Layers of the model.
        heads: The shape of the heads of each.
        n_tokens: Tokens that a slot holds.
    """

    n_layers: int
    heads: Heads
    n_tokens: int

    @property
    def capacity(self) -> int:
        """Tokens of a slot, rounded up to whole blocks of keys."""
        return round_up(self.n_tokens, KEY_BLOCK)

    @property
    def slot_bytes(self) -> int:
        """Memory of one slot."""
        n_heads = 2 * self.n_layers * self.heads.n_key_heads
        return n_heads * self.capacity * self.heads.size * self.heads.dtype.itemsize


class SlotCache:
    """Keys and values, and one slot more, into which padding is written and which nobody reads.

    Attributes:
        n_slots: Slots for conversations, numbered from 0.
        padding_slot: The number of the other one.
        capacity: Tokens of a slot.
        states: For each layer keys, then values: (2, n_slots + 1, K, capacity, D).
    """

    def __init__(self, shape: CacheShape, n_slots: int, device: torch.device) -> None:
        """Allocate everything."""
        heads = shape.heads
        size = (2, n_slots + 1, heads.n_key_heads, shape.capacity, heads.size)
        self.n_slots = n_slots
        self.capacity = shape.capacity
        self.padding_slot = n_slots
        self.states = [
            torch.zeros(size, dtype=heads.dtype, device=device) for _ in range(shape.n_layers)
        ]

    def write(self, layer: int, slots: Tensor, positions: Tensor, new: Tensor) -> None:
        """Store new tokens.

        Args:
            layer: Number of the layer.
            slots: Where each token goes, (N,).
            positions: Its position there, (N,).
            new: Keys and values, (N, 2, K, D).
        """
        self.states[layer][:, slots, :, positions] = new

    def clear(self, slot: int, length: int) -> None:
        """Zero the first `length` tokens of a slot, so that nothing is left to the next user.

        Masked values weigh 0, but 0 times what a broken request leaves behind may be NaN.
        """
        for layer in self.states:
            layer[:, slot, :, :length].zero_()


def count_slots(shape: CacheShape, wanted: int, memory: int) -> int:
    """Say how many slots to allocate.

    Args:
        shape: The sizes.
        wanted: How many would be used.
        memory: Bytes that they may take.

    Raises:
        ConfigError: If not even one fits.
    """
    n_slots = min(wanted, memory // shape.slot_bytes)
    if n_slots < 1:
        raise ConfigError(
            f"keys and values of one conversation of {shape.n_tokens} tokens need "
            f"{shape.slot_bytes / 2**20:.0f} MiB, but only {memory / 2**20:.0f} MiB may be used; "
            "choose a shorter context or another device"
        )
    return n_slots


def cache_memory(device: torch.device) -> int:
    """Say how many bytes keys and values may take on a device."""
    if device.type == "cpu":
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return total // MEMORY_SHARE
    free: int = torch.get_device_module(device).mem_get_info(device)[0]
    return free // FREE_SHARE
