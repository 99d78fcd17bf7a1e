"""The tables give every symbol something in every context, and add up."""

import itertools

import numpy as np
import pytest

from antiphon.training.letter_model import LetterModel, unfold
from tests.small_letters import N_LETTERS, N_SYMBOLS, small_grams, small_texts


@pytest.fixture(scope="module")
def model() -> LetterModel:
    return unfold(small_grams())


@pytest.mark.parametrize("max_grams", [0, 25, 1000])
def test_every_context_adds_up_and_stays_open(max_grams: int) -> None:
    model = unfold(small_grams(max_grams=max_grams))
    probabilities = np.exp(model.log_probabilities.astype(np.float64))
    assert probabilities.shape[1] == model.n_symbols == N_SYMBOLS
    assert probabilities.sum(1) == pytest.approx(np.ones(len(probabilities)), abs=1e-6)
    assert probabilities.min() > 0


def test_states_are_the_longest_known_endings(model: LetterModel) -> None:
    """Where two texts end in the same known context, they share what comes next."""
    known = {(): 0}
    grams = small_grams()
    sizes = grams.level_sizes.tolist()
    contexts: list[tuple[int, ...]] = [()]
    letters, children, first, number = grams.letters.tolist(), grams.n_children.tolist(), 0, 1
    families = [sizes[0]]
    for size in sizes[:-1]:
        parents = [c for c, n in zip(contexts, families, strict=True) for _ in range(n)]
        contexts = [(*c, letters[first + i]) for i, c in enumerate(parents)]
        families = children[first : first + size]
        for context, n in zip(contexts, families, strict=True):
            if n:
                known[context], number = number, number + 1
        first += size
    assert len(known) == len(model.log_probabilities)
    for text in itertools.product(range(N_LETTERS), repeat=4):
        state = model.start
        for label in text:
            state = int(model.next_states[state, label])
        row = (N_LETTERS, *text)
        longest = next(row[i:] for i in range(len(row) + 1) if row[i:] in known)
        assert state == known[longest]


def test_what_was_practised_is_likelier_than_its_reverse(model: LetterModel) -> None:
    texts = [text for text in small_texts() if len(text) > 3]
    assert len(texts) > 10
    forward = sum(map(model.score, texts))
    assert forward > sum(model.score(text[::-1]) for text in texts) + len(texts)


def test_texts_of_all_lengths_share_one(model: LetterModel) -> None:
    """Probabilities of the texts of up to six letters nearly fill the space of all texts."""
    short = [text for n in range(7) for text in itertools.product(range(N_LETTERS), repeat=n)]
    total = sum(np.exp(model.score(text)) for text in short)
    assert 0.7 < total < 1.0
