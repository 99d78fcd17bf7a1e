"""Attention of the rows of a batch over the slots that hold their keys and values, on a CPU.

Products have fixed shapes, so that in float32 a row's result does not depend on the other rows, on
padding, or on how many tokens are computed at once. `device_attention.py` has what GPUs like.
"""

import itertools
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
"""Values are summed in blocks of this many keys. Longer sums would be split at places that depend
on the length."""

HALF_BLOCK = 128
"""MKL splits the sum of a whole block here, and sums of up to this many keys nowhere. So a last
block that is not whole is summed in two products, as if masked keys had filled it up."""

KEY_STEP = 32
"""Keys that are looked at are a multiple of this many, the last of them masked."""

COPY_BYTES = 4 * 2**20
"""Keys and values are copied side by side, at most so many at a time, and multiplied while caches
hold the copy: MKL's products read scattered slots from memory slower than a copy does."""

MOST_WASTE = 1.5
"""Rows in neighbouring slots are computed in one batch of products, slots between them and keys
beyond their own included, while that is at most this many times what they need themselves."""


@dataclass(frozen=True)
class Heads:
    """The shape of a layer's heads.

    Attributes:
        n_key_heads: K, key heads.
        group_size: G, query heads that share a key head; H = K * G.
        size: D, width of a head.
        dtype: Type of queries, keys and values.
    """

    n_key_heads: int
    group_size: int
    size: int
    dtype: torch.dtype


@dataclass(frozen=True)
class Span:
    """Rows whose slots lie side by side.

    Attributes:
        slots: From the first slot to behind the last.
        n_keys: Keys of each to look at, a multiple of `KEY_STEP`.
        rows: The rows of the batch, (n,); None where they are its first ones, slot by slot.
        places: The slot of each of these, counted from the first, (n,).
        bias: 0 where a query sees a key and -inf elsewhere, (slots * K, T * G rounded up, n_keys);
            query t * G + g is head g of its group at token t.
        blocks: See `key_blocks`.
    """

    slots: slice
    n_keys: int
    rows: Tensor | None
    places: Tensor
    bias: Tensor
    blocks: Sequence[slice]


def round_up(number: int, multiple: int) -> int:
    """Round up to a multiple."""
    return -(-number // multiple) * multiple


def find_spans(
    slots: Sequence[int], ends: Sequence[int], positions: Tensor, heads: Heads
) -> list[Span]:
    """Say what each row may see: all keys up to the position of the query.

    Args:
        slots: Slot of each row, padding left out.
        ends: Number of keys in each row's slot, those of its new tokens included.
        positions: Positions of the queries, (B, T), B at least the number of rows.
        heads: The shape of the model's heads.
    """
    queries = positions.repeat_interleave(heads.group_size, dim=1)
    last_seen = pad_rows(queries[..., None])  # (B, T * G rounded up, 1)
    n_keys = [round_up(end, KEY_STEP) for end in ends]
    keys = torch.arange(max(n_keys), device=positions.device)
    bias = torch.zeros(*last_seen.shape[:2], len(keys), dtype=heads.dtype)
    bias.masked_fill_(keys > last_seen, -math.inf)
    groups = group_rows(slots, n_keys)
    return [make_span(rows, slots, n_keys, bias, heads.n_key_heads) for rows in groups]


def group_rows(slots: Sequence[int], n_keys: Sequence[int]) -> list[list[int]]:
    """Put rows whose slots lie near each other into groups; see `MOST_WASTE`."""
    groups: list[list[int]] = []
    needed = most = 0
    for row in sorted(range(len(slots)), key=slots.__getitem__):
        if groups:
            width = slots[row] - slots[groups[-1][0]] + 1
            longest, together = max(most, n_keys[row]), needed + n_keys[row]
            if width * longest <= MOST_WASTE * together:
                groups[-1].append(row)
                needed, most = together, longest
                continue
        groups.append([row])
        needed = most = n_keys[row]
    return groups


def make_span(
    rows: Sequence[int],
    slots: Sequence[int],
    n_keys: Sequence[int],
    bias: Tensor,
    n_key_heads: int,
) -> Span:
    """Describe one group of rows, which are in the order of their slots."""
    first, n_seen = slots[rows[0]], max(n_keys[row] for row in rows)
    places = [slots[row] - first for row in rows]
    width = places[-1] + 1
    is_whole = list(rows) == places and len(rows) == width
    spread = bias[:width, :, :n_seen]
    if not is_whole:
        spread = bias.new_zeros(width, bias.shape[1], n_seen)
        spread[places] = bias[list(rows), :, :n_seen]
    if width == 1:
        spread = spread.expand(n_key_heads, -1, -1)
    elif n_key_heads > 1:
        spread = spread.repeat_interleave(n_key_heads, dim=0)
    return Span(
        slots=slice(first, first + width),
        n_keys=n_seen,
        rows=None if is_whole else torch.tensor(rows),
        places=torch.tensor(places),
        bias=spread,
        blocks=key_blocks(n_seen),
    )


def pad_rows(x: Tensor) -> Tensor:
    """Add rows of zeros to (..., M, D) until M is a multiple of `ROW_MULTIPLE`."""
    missing = -x.shape[-2] % ROW_MULTIPLE
    return F.pad(x, (0, 0, 0, missing)) if missing else x


def fold_heads(queries: Tensor, n_key_heads: int) -> Tensor:
    """Fold heads that share keys: (B, T, H, D) -> (B, K, T * G rounded up, D)."""
    grouped = queries.unflatten(2, (n_key_heads, -1)).transpose(1, 2)  # (B, K, T, G, D)
    return pad_rows(grouped.flatten(2, 3))


def unfold_heads(mixed: Tensor, length: int, n_heads: int) -> Tensor:
    """Undo `fold_heads`: (B, K, T * G rounded up, D) -> (B, T, H * D)."""
    heads = mixed[:, :, : length * n_heads // mixed.shape[1]].unflatten(2, (length, -1))
    return heads.transpose(1, 2).flatten(2)  # (B, T, K * G * D)


def attend(queries: Tensor, states: Tensor, spans: Sequence[Span]) -> Tensor:
    """Compute the attention of a batch, heads in groups that share keys.

    Args:
        queries: (B, T, H, D).
        states: Keys and values of one layer, (2, n_slots, K, capacity, D); H = K * G.
        spans: What the rows may see; rows of `queries` in none of them are padding.

    Returns:
        (B, T, H * D); zeros where it is padding.
    """
    flat = fold_heads(queries, states.shape[2])  # (B, K, M, D)
    out = torch.zeros_like(flat)
    for span in spans:
        n_slots = span.slots.stop - span.slots.start
        if span.rows is None:
            out[:n_slots] = attend_span(flat[:n_slots], states, span)
        else:
            spread = flat.new_zeros(n_slots, *flat.shape[1:])
            spread[span.places] = flat[span.rows]
            out[span.rows] = attend_span(spread, states, span)[span.places]
    return unfold_heads(out, queries.shape[1], queries.shape[2])


def attend_span(flat: Tensor, states: Tensor, span: Span) -> Tensor:
    """Compute one span: folded queries of its slots (n, K, M, D) -> the same shape."""
    seen = states[:, span.slots, :, : span.n_keys]  # (2, n, K, S, D), a view
    n_slots = max(1, COPY_BYTES // (seen[:, 0].numel() * seen.itemsize))
    if n_slots >= len(flat):
        return attend_slots(flat, seen, span.bias, span.blocks)
    n_products = n_slots * flat.shape[1]
    parts = zip(
        flat.split(n_slots), seen.split(n_slots, dim=1), span.bias.split(n_products), strict=True
    )
    return torch.cat([attend_slots(*part, span.blocks) for part in parts])


def attend_slots(flat: Tensor, seen: Tensor, bias: Tensor, blocks: Sequence[slice]) -> Tensor:
    """Compute folded queries (n, K, M, D) over (2, n, K, S, D), copied first; see `COPY_BYTES`."""
    keys, values = seen.contiguous().flatten(1, 2)  # (n * K, S, D) each
    asked = flat.flatten(0, 1)
    if len(asked) < LEAST_PRODUCTS:
        keys, values, asked, bias = (
            each.expand(LEAST_PRODUCTS, -1, -1) for each in (keys, values, asked, bias)
        )
    scale = flat.shape[-1] ** -0.5
    scores = torch.baddbmm(bias, asked, keys.transpose(1, 2), alpha=scale)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)
    mixed = sum_values(weights, values, blocks)
    return mixed[: flat.shape[0] * flat.shape[1]].view_as(flat)


def sum_values(weights: Tensor, values: Tensor, blocks: Sequence[slice]) -> Tensor:
    """Multiply weights (P, M, S) with values (P, S, D), block by block; (P, M, D)."""
    first, *others = blocks
    mixed = torch.bmm(weights[..., first], values[:, first])
    for block in others:
        mixed.baddbmm_(weights[..., block], values[:, block])
    return mixed


def key_blocks(n_keys: int) -> list[slice]:
    """Cut keys into whole blocks, and what is left at `HALF_BLOCK`."""
    n_whole = n_keys // KEY_BLOCK * KEY_BLOCK
    starts = [*range(0, n_whole, KEY_BLOCK), *range(n_whole, n_keys, HALF_BLOCK)]
    return [slice(*ends) for ends in itertools.pairwise([*starts, n_keys])]
