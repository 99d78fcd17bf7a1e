"""N-grams of letters as a trie, and the small file that holds them.

Knows no language and nothing of how the n-grams were learned (see letter_counts.py); what is read
from a file is checked before anybody relies on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from antiphon.checkpoints import StateDict, load_safetensors
from antiphon.errors import CheckpointError

LETTERS_FILE = "letters.safetensors"
MAX_ORDER = 16
MAX_GRAMS = 2_000_000
MAX_CONTEXTS = 250_000  # each takes 8 bytes a letter in memory
ROUNDING = 0.01  # what float16 may add to a sum of probabilities
DTYPES = {
    "letters": torch.uint8,
    "log_probabilities": torch.float16,
    "n_children": torch.uint8,
    "level_sizes": torch.int32,
}


@dataclass(frozen=True)
class LetterGrams:
    """A trie of n-grams, level by level; V symbols: the letters, then the edge of a text.

    The edge stands for what is before the first letter and for what comes after the last. Siblings
    stand together in the order of their letters, families in the order of their parents. Level one
    holds all V symbols.

    Attributes:
        letters: Last symbol of each n-gram, uint8, (N,).
        log_probabilities: Natural logarithm of its probability after the symbols before, float16,
            (N,). What a context does not list shares the rest as the next shorter context says.
        n_children: N-grams that go on from each, uint8, (N less those of the last level,).
        level_sizes: N-grams of each length, int32, (order,).
    """

    letters: Tensor
    log_probabilities: Tensor
    n_children: Tensor
    level_sizes: Tensor

    def tensors(self) -> StateDict:
        """Give the tensors by their names in the file."""
        return {name: getattr(self, name).contiguous() for name in DTYPES}


def save_letters(grams: LetterGrams, folder: Path) -> None:
    """Write a letter model beside its tokenizer; a reader sees the old or the new."""
    temporary = folder / f"{LETTERS_FILE}.part"
    save_file(grams.tensors(), temporary, metadata={"format": "pt"})
    temporary.replace(folder / LETTERS_FILE)


def read_grams(folder: Path, n_letters: int) -> LetterGrams:
    """Read the n-grams for an alphabet of `n_letters` from beside a tokenizer.

    Raises:
        CheckpointError: If the file is missing, damaged, of another alphabet, or no such trie.
    """
    path = folder / LETTERS_FILE
    tensors = load_safetensors(path)
    fault = find_fault(tensors, n_letters + 1)
    if fault:
        raise CheckpointError(
            f"{path} is no letter model for {n_letters} letters: {fault}; "
            "write it anew with `antiphon train letters`"
        )
    return LetterGrams(**tensors)


def find_fault(tensors: StateDict, n_symbols: int) -> str:
    """Say what is wrong with the tensors of a file; empty if nothing is."""
    if set(tensors) != set(DTYPES):
        return f"it holds {', '.join(sorted(tensors)) or 'nothing'}"
    for name, dtype in DTYPES.items():
        if tensors[name].dtype != dtype or tensors[name].dim() != 1:
            return f"{name} must be one row of {dtype}"
    sizes = [int(size) for size in tensors["level_sizes"]]
    if not 1 <= len(sizes) <= MAX_ORDER or min(sizes) < 1:
        return f"level_sizes must be 1 to {MAX_ORDER} positive numbers"
    if sizes[0] != n_symbols:
        return f"it is for {sizes[0] - 1} letters"
    if sum(sizes) > MAX_GRAMS or int(tensors["n_children"].count_nonzero()) > MAX_CONTEXTS:
        return f"it has more than {MAX_GRAMS} n-grams or {MAX_CONTEXTS} contexts"
    counted = tuple(len(tensors[name]) for name in ("letters", "log_probabilities", "n_children"))
    if counted != (sum(sizes), sum(sizes), sum(sizes[:-1])):
        return "its tensors differ in length from what level_sizes says"
    return find_wrong_family(tensors, sizes)


def find_wrong_family(tensors: StateDict, sizes: Sequence[int]) -> str:
    """Say which rule the trie breaks; empty if none."""
    letters = tensors["letters"].numpy().astype(np.int64)
    logs = tensors["log_probabilities"].numpy().astype(np.float64)
    if not np.isfinite(logs).all() or logs.max() > 0:
        return "log_probabilities must be finite and not above 0"
    n_symbols, first = sizes[0], 0
    if letters.max() >= n_symbols or (letters[:n_symbols] != np.arange(n_symbols)).any():
        return "letters must be below the number of symbols, and all of them on level one"
    families = np.array([n_symbols])
    for level, size in enumerate(sizes):
        own = letters[first : first + size]
        parents = np.repeat(np.arange(len(families)), families)
        if len(parents) != size:
            return f"level {level + 1} has {size} n-grams, and the one before leads to others"
        if ((np.diff(own) <= 0) & (np.diff(parents) == 0)).any():
            return f"letters of level {level + 1} are not in order"
        sums = np.bincount(parents, np.exp(logs[first : first + size]))
        if sums.max() > 1 + ROUNDING:
            return f"probabilities on level {level + 1} add up to more than one"
        if level + 1 < len(sizes):
            families = tensors["n_children"].numpy()[first : first + size].astype(np.int64)
            if level and families[own == n_symbols - 1].any():
                return "something comes after the end of a text"
        first += size
    return ""
