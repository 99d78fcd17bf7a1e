"""Attention of the rows of a batch over the slots that hold their keys and values.

On a CPU each row is computed alone, in pieces of fixed shape, so that in float32 its result does
not depend on the other rows, on padding, or on how many tokens are computed at once. On a GPU all
rows are computed together.
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

LEAST_PRODUCTS = 2
"""Products in every batch of them: MKL computes a batch of one in another way, whose sums depend on
the sizes. A single key head is computed twice."""

KEY_BLOCK = 256
"""Values are summed in blocks of this many keys, of which the last is filled up with masked keys.
Sums of other lengths would be split at places that depend on the length."""


@dataclass(frozen=True)
class Reaches:
    """What the tokens of each row may see.

    Attributes:
        slots: Where each row's keys and values lie, padding left out.
        n_keys: Keys for each row to look at, multiples of `KEY_BLOCK`.
        bias: 0 where a query sees a key and -inf elsewhere, (B, T * G rounded up, most keys); query
            t * G + g is head g of its group at token t.
    """

    slots: tuple[int, ...]
    n_keys: tuple[int, ...]
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
) -> Reaches:
    """Say what each row may see: all keys up to the position of the query.

    Args:
        slots: Slot of each row, padding left out.
        ends: Number of keys in each row's slot, those of its new tokens included.
        positions: Positions of the queries, (B, T), B at least the number of rows.
        group_size: G, query heads that share a key head.
        dtype: Type of queries, keys and values.
    """
    n_keys = tuple(round_up(end, KEY_BLOCK) for end in ends)
    last_seen = pad_rows(positions.repeat_interleave(group_size, dim=1)[..., None])  # (B, T * G, 1)
    keys = torch.arange(max(n_keys), device=positions.device)
    bias = torch.zeros((), dtype=dtype, device=positions.device)
    bias = bias.expand(*last_seen.shape[:2], len(keys)).masked_fill(keys > last_seen, -math.inf)
    return Reaches(tuple(slots), n_keys, bias)


def pad_rows(x: Tensor) -> Tensor:
    """Add rows of zeros to (..., M, D) until M is a multiple of `ROW_MULTIPLE`."""
    missing = -x.shape[-2] % ROW_MULTIPLE
    return F.pad(x, (0, 0, 0, missing)) if missing else x


def fold_heads(queries: Tensor, n_key_heads: int) -> Tensor:
    """Fold heads that share keys: (B, T, H, D) -> (B, K, T * G rounded up, D)."""
    grouped = queries.unflatten(2, (n_key_heads, -1)).transpose(1, 2)  # (B, K, T, G, D)
    return pad_rows(grouped.flatten(2, 3))


def unfold_heads(mixed: Tensor, queries: Tensor) -> Tensor:
    """Undo `fold_heads`: (B, K, T * G rounded up, D) -> (B, T, H * D)."""
    n_rows, length, n_heads, width = queries.shape
    heads = mixed[:, :, : length * n_heads // mixed.shape[1]].unflatten(2, (length, -1))
    return heads.transpose(1, 2).reshape(n_rows, length, n_heads * width)  # (B, T, K * G * D)


def attend(queries: Tensor, keys: Tensor, values: Tensor, reaches: Reaches) -> Tensor:
    """Compute the attention of a batch, heads in groups that share keys, row by row.

    Args:
        queries: (B, T, H, D).
        keys: One layer of all slots, (n_slots, K, capacity, D); K key heads, H = K * G.
        values: The same.
        reaches: What each row may see; rows of `queries` beyond these are padding.

    Returns:
        (B, T, H * D); zeros where it is padding.
    """
    n_key_heads = keys.shape[1]
    n_products = max(LEAST_PRODUCTS, n_key_heads)
    flat = fold_heads(queries, n_key_heads).expand(-1, n_products, -1, -1)  # (B, K, M, D)
    out = torch.zeros_like(flat)
    for row, (slot, n_keys) in enumerate(zip(reaches.slots, reaches.n_keys, strict=True)):
        seen_keys = keys[slot, :, :n_keys].expand(n_products, -1, -1)  # (K, S, D)
        seen_values = values[slot, :, :n_keys].expand(n_products, -1, -1)
        bias = reaches.bias[row : row + 1, :, :n_keys].expand(n_products, -1, -1)
        scale = queries.shape[-1] ** -0.5
        scores = torch.baddbmm(bias, flat[row], seen_keys.transpose(1, 2), alpha=scale)
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)
        sum_values(weights, seen_values, out[row])
    return unfold_heads(out[:, :n_key_heads], queries)


def attend_at_once(
    queries: Tensor, keys: Tensor, values: Tensor, reaches: Reaches, slots: Tensor
) -> Tensor:
    """Compute what `attend` does in one product for all rows: on a GPU launches cost the most.

    Args:
        queries: (B, T, H, D).
        keys: One layer of all slots, (n_slots, K, capacity, D).
        values: The same.
        reaches: What each row may see.
        slots: Slot of each row, padding included, (B,).

    Returns:
        (B, T, H * D); anything finite where it is padding.
    """
    flat = fold_heads(queries, keys.shape[1])
    n_keys = reaches.bias.shape[-1]
    seen_keys, seen_values = keys[:, :, :n_keys][slots], values[:, :, :n_keys][slots]
    mixed = F.scaled_dot_product_attention(
        flat, seen_keys, seen_values, attn_mask=reaches.bias[:, None]
    )
    return unfold_heads(mixed, queries)


def sum_values(weights: Tensor, values: Tensor, out: Tensor) -> None:
    """Add weights (K, M, S) times values (K, S, D) to `out` (K, M, D), block by block."""
    for start in range(0, values.shape[1], KEY_BLOCK):
        block = slice(start, start + KEY_BLOCK)
        out.baddbmm_(weights[..., block], values[:, block])
