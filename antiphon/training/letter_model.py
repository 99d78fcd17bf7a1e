"""A statistical model of letters: which letter comes next after those before it.

Unfolds a trie of n-grams into tables that a search steps through. Knows no language and no sound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from antiphon.training.letter_grams import LetterGrams, read_grams

LEAST = 1e-5  # probability that every symbol keeps in every context: nothing is impossible
Ints = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LetterModel:
    """Tables of an n-gram model: one row a context, one column a symbol; the last is the edge.

    Attributes:
        log_probabilities: Of each symbol in each context, natural logarithm, float32, (S, V); the
            probabilities of a row add up to one.
        next_states: The longest known context after a symbol, int32, (S, V).
        start: Context at the beginning of a text.
    """

    log_probabilities: npt.NDArray[np.float32]
    next_states: npt.NDArray[np.int32]
    start: int

    @property
    def n_symbols(self) -> int:
        """V: the letters, and the edge of a text."""
        return self.log_probabilities.shape[1]

    def score(self, labels: Sequence[int]) -> float:
        """Natural logarithm of the probability of a whole text, its end included."""
        state, total = self.start, 0.0
        for label in (*labels, self.n_symbols - 1):
            total += float(self.log_probabilities[state, label])
            state = int(self.next_states[state, label])
        return total


@dataclass(frozen=True)
class Family:
    """The n-grams of one length: symbol, probability, context they begin, context they follow."""

    letters: Ints
    probabilities: Float64
    states: Ints
    parents: Ints


def load_letters(folder: Path, n_letters: int) -> LetterModel:
    """Read the letter model for an alphabet of `n_letters` from beside a tokenizer.

    Raises:
        CheckpointError: If the file is missing, damaged, of another alphabet, or no such trie.
    """
    return unfold(read_grams(folder, n_letters))


def unfold(grams: LetterGrams) -> LetterModel:
    """Make the tables of n-grams: every context with all symbols, shorter contexts first."""
    families = split_levels(grams)
    n_symbols = len(families[0].letters)
    n_states = 1 + sum(int(np.count_nonzero(family.states)) for family in families)
    table = np.empty((n_states, n_symbols))
    following = np.empty((n_states, n_symbols), np.int64)
    shorter = np.zeros(n_states, np.int64)  # the longest known context that a context ends with
    table[0], following[0] = bounded(families[0].probabilities[None])[0], families[0].states
    for depth, (own, longer) in enumerate(pairwise(families)):
        is_context = own.states > 0
        rows = own.states[is_context]
        if depth:
            ends_in = shorter[own.parents[is_context]]
            shorter[rows] = following[ends_in, own.letters[is_context]]
        following[rows] = following[shorter[rows]]
        goes_on = longer.states > 0
        following[longer.parents[goes_on], longer.letters[goes_on]] = longer.states[goes_on]
        places = np.searchsorted(rows, longer.parents)
        table[rows] = backed_off(table[shorter[rows]], places, longer)
    return LetterModel(
        np.log(table).astype(np.float32), following.astype(np.int32), int(families[0].states[-1])
    )


def split_levels(grams: LetterGrams) -> list[Family]:
    """Cut a trie into its levels; contexts are numbered from 1, as 0 is the one of no symbols."""
    letters = grams.letters.numpy().astype(np.int64)
    probabilities = np.exp(grams.log_probabilities.numpy().astype(np.float64))
    n_children = grams.n_children.numpy().astype(np.int64)
    goes_on = np.flatnonzero(n_children)
    states = np.zeros(len(letters), np.int64)
    states[goes_on] = np.arange(1, len(goes_on) + 1)
    families, first = [], 0
    parents = np.zeros(int(grams.level_sizes[0]), np.int64)
    for size in grams.level_sizes.tolist():
        part = slice(first, first + size)
        families.append(Family(letters[part], probabilities[part], states[part], parents))
        if first + size <= len(n_children):
            parents = np.repeat(states[part], n_children[part])
        first += size
    return families


def backed_off(lower: Float64, places: Ints, listed: Family) -> Float64:
    """Fill rows (R, V): what is listed keeps its probability, the rest follows `lower` (R, V)."""
    is_listed = np.zeros(lower.shape, bool)
    is_listed[places, listed.letters] = True
    filled = np.zeros(lower.shape)
    filled[places, listed.letters] = listed.probabilities
    rest = np.maximum(1.0 - filled.sum(1), 0.0)
    unlisted = np.where(is_listed, 0.0, lower)
    share = rest / np.maximum(unlisted.sum(1), LEAST)
    return bounded(filled + share[:, None] * unlisted)


def bounded(table: Float64) -> Float64:
    """Make rows (R, V) add up to one, with something left for every symbol."""
    raised = np.maximum(table, LEAST)
    scaled: Float64 = raised / raised.sum(1, keepdims=True)
    return scaled
