"""Attention of the rows of a batch over the slots that hold their keys and values.

Each row is computed alone, in pieces of fixed shape, so that on a CPU in float32 its result does
not depend on the other rows, on padding, or on how many tokens are computed at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

ROW_MULTIPLE = 4
"""Rows of every matrix product. Measured with MKL: in products of 4, 8, 12, ... rows, a row has the
same bits whatever the other rows are and however many threads there are."""

KEY_BLOCK = 256
"""Values are summed in blocks of this many keys, of which the last is filled up with masked keys.
Sums of other lengths would be split at places that depend on the length."""


@dataclass(frozen=True)
class Reach:
    """What the tokens of one row may see.

    Attributes:
        slot: Where the row's keys and values lie.
        n_keys: Keys to look at, a multiple of `KEY_BLOCK`.
        bias: 0 where a query sees a key and -inf elsewhere, (1, T * G rounded up, n_keys); query
            t * G + g is head g of its group at token t.
    """

    slot: int
    n_keys: int
    bias: Tensor


def round_up(number: int, multiple: int) -> int:
    """Round up to a multiple."""
    return -(-number // multiple) * multiple


def find_reaches(
    slots: Sequence[int],
    ends: Sequence[int],
    positions: Tensor,
    group_size: int,
    dtype: torch.dtype,
) -> tuple[Reach, ...]:
    """Say what each row may see: all keys up to the position of the query.

    Args:
        slots: Slot of each row.
        ends: Number of keys in each row's slot, those of its new tokens included.
        positions: Positions of the queries, (B, T), B at least the number of rows.
        group_size: G, query heads that share a key head.
        dtype: Type of queries, keys and values.
    """
    n_keys = [round_up(end, KEY_BLOCK) for end in ends]
    last_seen = pad_rows(positions.repeat_interleave(group_size, dim=1)[..., None])  # (B, T * G, 1)
    keys = torch.arange(max(n_keys), device=positions.device)
    bias = torch.zeros((), dtype=dtype, device=positions.device)
    bias = bias.expand(*last_seen.shape[:2], len(keys)).masked_fill(keys > last_seen, -math.inf)
    return tuple(
        Reach(slot, n, bias[row : row + 1, :, :n])
        for row, (slot, n) in enumerate(zip(slots, n_keys, strict=True))
    )


def pad_rows(x: Tensor) -> Tensor:
    """Add rows of zeros to (..., M, D) until M is a multiple of `ROW_MULTIPLE`."""
    missing = -x.shape[-2] % ROW_MULTIPLE
    return F.pad(x, (0, 0, 0, missing)) if missing else x


def attend(queries: Tensor, keys: Tensor, values: Tensor, reaches: Sequence[Reach]) -> Tensor:
    """Compute the attention of a batch, heads in groups that share keys.

    Args:
        queries: (B, T, H, D).
        keys: One layer of all slots, (n_slots, K, capacity, D); K key heads, H = K * G.
        values: The same.
        reaches: What each row may see; rows of `queries` beyond these are padding.

    Returns:
        (B, T, H * D); zeros where it is padding.
    """
    n_rows, length, n_heads, width = queries.shape
    n_key_heads = keys.shape[1]
    grouped = queries.unflatten(2, (n_key_heads, -1)).transpose(1, 2)  # (B, K, T, G, D)
    flat = pad_rows(grouped.flatten(2, 3))  # (B, K, T * G rounded up, D)
    out = torch.zeros_like(flat)
    for row, reach in enumerate(reaches):
        seen_keys = keys[reach.slot, :, : reach.n_keys]  # (K, S, D)
        seen_values = values[reach.slot, :, : reach.n_keys]
        bias = reach.bias.expand(n_key_heads, -1, -1)
        scores = torch.baddbmm(bias, flat[row], seen_keys.transpose(1, 2), alpha=width**-0.5)
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)
        sum_values(weights, seen_values, out[row])
    heads = out[:, :, : length * n_heads // n_key_heads].unflatten(2, (length, -1))
    return heads.transpose(1, 2).reshape(n_rows, length, n_heads * width)  # (B, T, K * G * D)


def sum_values(weights: Tensor, values: Tensor, out: Tensor) -> None:
    """Add weights (K, M, S) times values (K, S, D) to `out` (K, M, D), block by block."""
    for start in range(0, values.shape[1], KEY_BLOCK):
        block = slice(start, start + KEY_BLOCK)
        out.baddbmm_(weights[..., block], values[:, block])
