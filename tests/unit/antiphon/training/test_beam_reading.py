"""The beam finds what trying out every alignment finds, and lets the letter model decide."""

import gc
import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.training.beam_reading import BeamReader, BeamSettings, Prefix
from antiphon.training.letter_counts import learn_letters
from antiphon.training.letter_model import LetterModel, unfold
from tests.small_letters import N_LETTERS, small_grams

Float32 = npt.NDArray[np.float32]
EVERYTHING = BeamSettings(
    alpha=0.0, beta=0.0, width=10_000, margin=math.inf, least_letter=0.0, sure_blank=math.inf
)


def random_steps(seed: int, n_steps: int, n_symbols: int, sharpness: float = 2.0) -> Float32:
    """Log probabilities (T, V) of steps that are more or less sure."""
    logits = sharpness * np.random.default_rng(seed).standard_normal((n_steps, n_symbols))
    return (logits - np.logaddexp.reduce(logits, -1, keepdims=True)).astype(np.float32)


def collapse(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def all_scores(
    steps: Float32, letters: LetterModel, alpha: float, beta: float
) -> dict[tuple[int, ...], float]:
    """Score every text by adding up all its alignments."""
    blank = steps.shape[1] - 1
    totals: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(blank + 1), repeat=len(steps)):
        chance = math.exp(sum(float(step[label]) for step, label in zip(steps, path, strict=True)))
        text = collapse(path, blank)
        totals[text] = totals.get(text, 0.0) + chance
    return {
        text: math.log(total) + alpha * letters.score(text) + beta * len(text)
        for text, total in totals.items()
    }


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), alpha=st.sampled_from((0.0, 0.5, 1.5)), beta=st.floats(-1, 2))
def test_a_wide_beam_is_the_exhaustive_search(seed: int, alpha: float, beta: float) -> None:
    letters = unfold(learn_letters([[0, 1], [0, 1, 1], [1], []], 2, 3, 100))
    steps = random_steps(seed, 6, 3)
    scores = all_scores(steps, letters, alpha, beta)
    wide = BeamSettings(alpha, beta, 10_000, math.inf, 0.0, math.inf)
    found = BeamReader(letters, wide).read(steps)
    assert scores[tuple(found)] == pytest.approx(max(scores.values()), abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_without_a_letter_model_it_finds_the_likeliest_text(seed: int) -> None:
    letters = unfold(learn_letters([[]], 3, 2, 0))
    steps = random_steps(seed, 5, 4)
    scores = all_scores(steps, letters, 0.0, 0.0)
    found = BeamReader(letters, EVERYTHING).read(steps)
    assert scores[tuple(found)] == pytest.approx(max(scores.values()), abs=1e-5)


def test_the_likeliest_text_is_not_always_the_greedy_one() -> None:
    """Many weak alignments of one text outweigh the single best one of another."""
    letters = unfold(learn_letters([[]], 1, 2, 0))
    steps = np.log(np.array([[0.4, 0.6], [0.4, 0.6]], np.float32))
    assert BeamReader(letters, EVERYTHING).read(steps) == [0]  # 0.64 against a blank's 0.36


def spelled(rows: list[dict[int, float]], n_letters: int) -> Float32:
    """Steps where only some symbols are likely."""
    steps = np.full((len(rows), n_letters + 1), 1e-6)
    for step, row in zip(steps, rows, strict=True):
        step[list(row)] = list(row.values())
    return np.log(steps / steps.sum(1, keepdims=True)).astype(np.float32)


def test_the_letter_model_decides_what_sound_leaves_open() -> None:
    letters = unfold(learn_letters([[0, 1, 2]] * 20, N_LETTERS, 3, 100))
    open_steps = spelled([{0: 0.98}, {1: 0.45, 3: 0.5}, {2: 0.98}], N_LETTERS)
    assert BeamReader(letters, EVERYTHING).read(open_steps) == [0, 3, 2]
    assert BeamReader(letters, BeamSettings()).read(open_steps) == [0, 1, 2]


def test_what_is_clearly_heard_stays_though_no_text_has_it() -> None:
    letters = unfold(learn_letters([[0, 1, 2]] * 20, N_LETTERS, 3, 100))
    clear = spelled([{4: 0.999}, {5: 0.999}, {4: 0.999}, {3: 0.999}], N_LETTERS)
    assert BeamReader(letters).read(clear) == [4, 4, 3]


@pytest.mark.parametrize("blank", [0.9, 0.99, 1.0])
@pytest.mark.parametrize("n_steps", [1, 40, 400])
def test_nothing_heard_is_nothing_read(blank: float, n_steps: int) -> None:
    """However long the silence: the letter model and the reward of letters invent none."""
    letters = unfold(learn_letters([[0, 1, 2]] * 20, N_LETTERS, 3, 100))
    steps = np.full((n_steps, N_LETTERS + 1), max((1 - blank) / 400 / N_LETTERS, 1e-9))
    steps[:, -1] = blank
    read = BeamReader(letters).read(np.log(steps).astype(np.float32))
    assert read == []


def test_no_steps_are_no_text() -> None:
    letters = unfold(small_grams())
    assert BeamReader(letters).read(np.empty((0, N_LETTERS + 1), np.float32)) == []


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000))
def test_limits_change_nothing_where_steps_are_as_sure_as_usual(seed: int) -> None:
    """Between letters a recogniser is sure of the blank, and one letter in three has a rival."""
    rng = np.random.default_rng(seed)
    rows: list[dict[int, float]] = []
    for place in range(12):
        one, other = rng.permutation(N_LETTERS)[:2].tolist()
        letter = {one: 0.995} if place % 3 else {one: 0.5, other: 0.35, N_LETTERS: 0.15}
        rows += [letter, {N_LETTERS: 1.0}, {N_LETTERS: 1.0}]
    steps = spelled(rows, N_LETTERS)
    letters = unfold(small_grams())
    usual = BeamSettings()
    whole = BeamSettings(usual.alpha, usual.beta, 100, math.inf, 0.0, math.inf)
    assert BeamReader(letters, usual).read(steps) == BeamReader(letters, whole).read(steps)


def test_it_leaves_no_rings_behind() -> None:
    """They would wait in memory for a search of the whole program, which stops it."""
    reader = BeamReader(unfold(small_grams()))
    steps = random_steps(5, 40, N_LETTERS + 1)
    gc.collect()
    gc.disable()
    try:
        assert reader.read(steps)
        assert not [each for each in gc.get_objects() if type(each) is Prefix]
    finally:
        gc.enable()


def test_it_reads_the_same_again() -> None:
    steps = random_steps(3, 40, N_LETTERS + 1)
    reader = BeamReader(unfold(small_grams()))
    first = reader.read(steps)
    assert first and reader.read(steps) == first
    assert BeamReader(unfold(small_grams())).read(steps) == first
