"""Attention for accelerators: all rows of a step at once, by torch's SDPA or by flash-attn.

Both read the slots that rows lie in. Neither gives a row the same bits in every company; for that
there is `attention.py`. Knows nothing of requests.
"""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from antiphon.engine.attention import Heads
from antiphon.errors import ConfigError

AttentionName = Literal["auto", "exact", "sdpa", "flash"]
ATTENTIONS: tuple[AttentionName, ...] = get_args(AttentionName)

FLASH_DTYPES = (torch.bfloat16, torch.float16)
FLASH_HEAD_SIZE = 256
"""The widest heads of flash-attn; their size must be a multiple of 8."""

Look = Callable[[Tensor, Tensor], Tensor]
"""Attends from queries (B, T, H, D) to what a layer's states (2, n_slots, K, capacity, D) hold of
each row; gives (B, T, H * D)."""


class DeviceAttention(Protocol):
    """Computes the attention of a step.

    Attributes:
        is_padded: Whether `n_keys` keys are read of every row, needed or not.
    """

    is_padded: bool

    def prepare(self, slots: Tensor, positions: Tensor, n_keys: int) -> Look:
        """Do what all layers of a step share.

        Args:
            slots: Slot of each row, (B,).
            positions: Of the queries, (B, T), one after the other; each sees what is before it.
            n_keys: More than the largest position.
        """
        ...


class SdpaAttention:
    """Attention by torch, over copies of the slots as long as the longest of them."""

    is_padded = True

    def __init__(self, heads: Heads) -> None:
        """Compute for heads of this shape."""
        self._heads = heads

    def prepare(self, slots: Tensor, positions: Tensor, n_keys: int) -> Look:
        """See `DeviceAttention`."""
        n_key_heads, group_size = self._heads.n_key_heads, self._heads.group_size
        keys = torch.arange(n_keys, device=positions.device)
        is_unseen = keys > positions[:, :, None]  # (B, T, S)
        bias = torch.zeros(is_unseen.shape, dtype=self._heads.dtype, device=positions.device)
        bias = bias.masked_fill(is_unseen, float("-inf"))
        if positions.shape[1] == 1:  # the heads of a group see the same
            bias = bias[:, None].expand(-1, -1, group_size, -1)  # (B, 1, G, S)
        else:
            bias = bias.repeat_interleave(group_size, dim=1)[:, None]  # (B, 1, T * G, S)

        def look(queries: Tensor, states: Tensor) -> Tensor:
            seen = states[:, :, :, :n_keys][:, slots]  # (2, B, K, S, D)
            grouped = queries.unflatten(2, (n_key_heads, group_size)).transpose(1, 2)
            flat = grouped.flatten(2, 3)  # (B, K, T * G, D)
            mixed = F.scaled_dot_product_attention(flat, seen[0], seen[1], attn_mask=bias)
            heads = mixed.unflatten(2, (-1, group_size)).transpose(1, 2)  # (B, T, K, G, D)
            return heads.flatten(2)

        return look


class FlashAttention:
    """Attention by flash-attn, which reads the slots where they lie and only as far as needed."""

    is_padded = False

    def __init__(self, heads: Heads, flash_attn: ModuleType) -> None:
        """Compute for heads of this shape with the imported package."""
        self._heads = heads
        self._attend = flash_attn.flash_attn_with_kvcache

    def prepare(self, slots: Tensor, positions: Tensor, n_keys: int) -> Look:
        """See `DeviceAttention`; `n_keys` is not needed."""
        ends = (positions[:, -1] + 1).int()
        places = slots.int()

        def look(queries: Tensor, states: Tensor) -> Tensor:
            keys, values = states.transpose(2, 3)  # (n_slots, capacity, K, D) each
            mixed: Tensor = self._attend(
                queries, keys, values, cache_seqlens=ends, cache_batch_idx=places, causal=True
            )
            return mixed.flatten(2)

        return look


def choose_attention(name: str, heads: Heads, device: torch.device) -> DeviceAttention | None:
    """Find what computes the attention.

    Args:
        name: One of `ATTENTIONS`; auto takes exact on a CPU, and elsewhere flash where it is
            installed and fits, else sdpa.
        heads: The shape of the model's heads.
        device: Where the model lies.

    Returns:
        None for exact, which `ModelRunner` computes itself.

    Raises:
        ConfigError: If the name is unknown, or does not fit the device, the number format or what
            is installed.
    """
    if name not in ATTENTIONS:
        raise ConfigError(f"unknown attention {name!r}; choose one of {', '.join(ATTENTIONS)}")
    on_cpu = device.type == "cpu"
    if name == "exact" and not on_cpu:
        raise ConfigError(
            f"attention exact is for CPUs and the model lies on {device}; choose sdpa or flash"
        )
    if name == "sdpa":
        return SdpaAttention(heads)
    if name == "exact" or (name == "auto" and on_cpu):
        return None
    obstacle = flash_obstacle(heads, device)
    if obstacle is None:
        return FlashAttention(heads, importlib.import_module("flash_attn"))
    if name == "flash":
        raise ConfigError(f"attention flash {obstacle}; choose sdpa or auto")
    return SdpaAttention(heads)


def flash_obstacle(heads: Heads, device: torch.device) -> str | None:
    """Say why flash-attn cannot be used; None if it can."""
    if device.type == "cpu":
        return "needs a CUDA device, and the model lies on the CPU"
    if heads.dtype not in FLASH_DTYPES:
        return f"computes in bfloat16 or float16, and the model in {heads.dtype}"
    if heads.size > FLASH_HEAD_SIZE or heads.size % 8:
        return f"takes heads of at most {FLASH_HEAD_SIZE}, a multiple of 8; these have {heads.size}"
    try:
        importlib.import_module("flash_attn")
    except (ImportError, OSError) as error:
        return f"needs the package flash-attn, which cannot be loaded ({error})"
    return None
