"""Learns a letter model from texts: counts n-grams, smooths them and keeps those that tell most.

Sources: interpolated Witten-Bell smoothing as in Chen and Goodman 1998 (TR-10-98), section 2.6;
pruning by weighted difference after Seymore and Rosenfeld 1996 (Scalable backoff language models).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from antiphon.training.letter_grams import LetterGrams

Ints = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """N-grams of one length, in order.

    Attributes:
        keys: Symbols of an n-gram as digits to the base V, the last one the lowest, (N,).
        probabilities: Of the last symbol after the others, (N,).
        gains: What the n-gram, or the best of those that begin with it, adds to the log probability
            of what was counted, (N,).
    """

    keys: Ints
    probabilities: Float64
    gains: Float64


def learn_letters(
    texts: Iterable[Sequence[int]], n_letters: int, order: int, max_grams: int
) -> LetterGrams:
    """Learn which letter follows which.

    Args:
        texts: Labels below `n_letters`; an empty one says that nothing may be said.
        n_letters: Size of the alphabet.
        order: Length of the longest n-grams, at least 1.
        max_grams: How many n-grams longer than one symbol may be kept.
    """
    n_symbols, edge = n_letters + 1, bytes([n_letters])
    joined = edge + b"".join(bytes(labels) + edge for labels in texts)
    levels = count_levels(np.frombuffer(joined, np.uint8).astype(np.int64), n_symbols, order)
    return as_trie(prune(levels, n_symbols, max_grams), n_symbols)


def count_levels(symbols: Ints, n_symbols: int, order: int) -> list[Level]:
    """Count and smooth all n-grams of a row of texts; edges stand between them and at both ends."""
    counts = np.bincount(symbols[1:], minlength=n_symbols)  # the first edge follows nothing
    n_types = np.count_nonzero(counts)
    mixed = (counts + n_types / n_symbols) / (len(symbols) - 1 + n_types)
    levels = [Level(np.arange(n_symbols), mixed, np.full(n_symbols, np.inf))]
    keys = symbols
    edges_before = np.concatenate([[0], np.cumsum(symbols == n_symbols - 1)])
    for length in range(2, order + 1):
        keys = keys[:-1] * n_symbols + symbols[length - 1 :]
        first = np.arange(len(keys))
        n_inside = edges_before[first + length - 1] - edges_before[first + 1]
        grams, counts = np.unique(keys[n_inside == 0], return_counts=True)
        levels.append(smooth(grams, counts, levels[-1], n_symbols, n_symbols ** (length - 1)))
    return levels


def smooth(keys: Ints, counts: Ints, shorter: Level, n_symbols: int, n_endings: int) -> Level:
    """Mix what was counted of each context with what the context one shorter says.

    Args:
        keys: N-grams in order, (N,).
        counts: How often each came, (N,).
        shorter: The n-grams that these end with.
        n_symbols: V.
        n_endings: V to the power of their length.
    """
    starts = np.flatnonzero(np.diff(keys // n_symbols, prepend=-1))  # where contexts begin
    n_types = np.diff(starts, append=len(keys))
    divisors = np.repeat(np.add.reduceat(counts, starts) + n_types, n_types)
    rest = np.repeat(n_types, n_types) / divisors
    lower = rest * shorter.probabilities[np.searchsorted(shorter.keys, keys % n_endings)]
    mixed = counts / divisors + lower
    return Level(keys, mixed, counts * np.log(mixed / lower))


def prune(levels: Sequence[Level], n_symbols: int, max_grams: int) -> list[Level]:
    """Keep those n-grams that gain most, each with all that it begins with."""
    best = list(levels)
    for number in range(len(best) - 1, 1, -1):
        longer, own = best[number], best[number - 1]
        gains = own.gains.copy()
        np.maximum.at(gains, np.searchsorted(own.keys, longer.keys // n_symbols), longer.gains)
        best[number - 1] = replace(own, gains=gains)
    gains = np.sort(np.concatenate([level.gains for level in best[1:]]))
    least = gains[-max_grams - 1] if max_grams < len(gains) else -np.inf
    kept = [level.gains > least for level in best]
    return [
        Level(level.keys[chosen], level.probabilities[chosen], level.gains[chosen])
        for level, chosen in zip(best, kept, strict=True)
        if chosen.any()
    ]


def as_trie(levels: Sequence[Level], n_symbols: int) -> LetterGrams:
    """Arrange n-grams for the file."""
    n_children = [
        np.bincount(np.searchsorted(own.keys, longer.keys // n_symbols), minlength=len(own.keys))
        for own, longer in pairwise(levels)
    ]
    n_children.append(np.zeros(0, np.int64))  # nothing goes on from the longest
    letters = np.concatenate([level.keys % n_symbols for level in levels])
    logs = np.log(np.concatenate([level.probabilities for level in levels]))
    return LetterGrams(
        torch.from_numpy(letters.astype(np.uint8)),
        torch.from_numpy(np.minimum(logs, 0.0).astype(np.float16)),
        torch.from_numpy(np.concatenate(n_children).astype(np.uint8)),
        torch.tensor([len(level.keys) for level in levels], dtype=torch.int32),
    )
