"""N-grams are counted, smoothed as the formula says, and pruned with those they begin with."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from antiphon.training.letter_counts import count_levels, learn_letters
from antiphon.training.letter_grams import find_fault
from antiphon.training.letter_model import unfold
from tests.small_letters import N_LETTERS, N_SYMBOLS, small_grams, small_texts

EDGE = N_LETTERS


def witten_bell(texts: list[list[int]], context: tuple[int, ...], symbol: int) -> float:
    """Compute one probability from the texts, by the recursion as it is written in the source."""
    after = Counter(
        row[place]
        for row in ([EDGE, *text, EDGE] for text in texts)
        for place in range(max(1, len(context)), len(row))
        if tuple(row[place - len(context) : place]) == context
    )
    lower = witten_bell(texts, context[1:], symbol) if context else 1 / N_SYMBOLS
    return (after[symbol] + len(after) * lower) / (after.total() + len(after))


@pytest.mark.parametrize(
    ("context", "symbol"),
    [
        ((), 2),
        ((3,), 4),
        ((EDGE,), 0),
        ((EDGE,), EDGE),
        ((1, 2), 3),
        ((EDGE, 1), 2),
        ((0, 1), EDGE),
    ],
)
def test_probabilities_are_those_of_the_formula(context: tuple[int, ...], symbol: int) -> None:
    texts = small_texts()
    row = [EDGE, *(label for text in texts for label in (*text, EDGE))]
    level = count_levels(np.array(row), N_SYMBOLS, 3)[len(context)]
    key = sum(value * N_SYMBOLS**power for power, value in enumerate(reversed((*context, symbol))))
    (place,) = np.flatnonzero(level.keys == key)
    assert level.probabilities[place] == pytest.approx(witten_bell(texts, context, symbol))


def test_what_never_came_backs_off_to_the_shorter_context() -> None:
    texts = [[0, 1, 2], [0, 1, 2], [3, 1, 4]]
    model = unfold(learn_letters(texts, N_LETTERS, 3, 1000))
    state = model.next_states[model.next_states[model.start, 0], 1]
    shorter = model.next_states[0, 1]
    seen, unseen = np.exp(model.log_probabilities[[state, shorter]].astype(float))
    assert seen[2] == pytest.approx(witten_bell(texts, (0, 1), 2), rel=2e-3)
    assert seen[4] == pytest.approx(unseen[4] * (1 - seen[2]) / (1 - unseen[2]), rel=1e-3)


def test_pruning_keeps_so_many_and_a_whole_trie() -> None:
    whole = small_grams(order=5, max_grams=10_000)
    kept = small_grams(order=5, max_grams=40)
    assert N_SYMBOLS + 30 <= len(kept.letters) <= N_SYMBOLS + 40 < len(whole.letters)
    assert find_fault(kept.tensors(), N_SYMBOLS) == ""


def test_pruning_drops_what_tells_least() -> None:
    texts = small_texts()

    def told(max_grams: int) -> float:
        model = unfold(small_grams(order=5, max_grams=max_grams))
        return sum(model.score(text) for text in texts)

    assert told(0) < told(20) < told(60) < told(10_000)


def test_the_same_texts_give_the_same_model() -> None:
    first, again, other = (small_grams(seed=seed) for seed in (0, 0, 1))
    for name, tensor in first.tensors().items():
        assert torch.equal(tensor, again.tensors()[name]), name
    assert not torch.equal(first.log_probabilities[:6], other.log_probabilities[:6])


def test_without_any_text_every_symbol_is_as_likely() -> None:
    model = unfold(learn_letters([[]], N_LETTERS, 2, 0))
    assert model.log_probabilities[0, :N_LETTERS] == pytest.approx(
        np.full(N_LETTERS, math.log(1 / 12)), rel=1e-3
    )
