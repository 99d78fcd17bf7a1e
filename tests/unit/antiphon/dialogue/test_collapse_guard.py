"""Speech that has collapsed is noticed; speech, pauses and songs are left alone."""

import math
import random
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.dialogue.collapse_guard import (
    DEFAULT_COLLAPSE_S,
    MAX_CYCLE,
    REPEATED_SHARE,
    SPEECH_TOKEN_RATE,
    CollapseGuard,
)
from antiphon.errors import ConfigError

WINDOW = 188  # tokens of the default, 15 s


def collapsed_at(codes: Iterable[int], window_s: float = DEFAULT_COLLAPSE_S) -> int | None:
    """Feed tokens; give the number of those taken when the guard says so."""
    guard = CollapseGuard(window_s)
    return next((n for n, code in enumerate(codes, start=1) if guard.feed(code)), None)


def draw(n: int, n_codes: int, seed: int = 0) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(n_codes) for _ in range(n)]


@pytest.mark.parametrize("cycle", range(1, MAX_CYCLE + 1))
def test_any_short_cycle_is_noticed_within_the_window(cycle: int) -> None:
    codes = [*draw(500, 16_384), *list(range(cycle)) * 300]
    found = collapsed_at(codes)
    assert found is not None
    n_repeats = found - 500 - cycle
    if cycle in (2, 3):  # so few tokens that their number alone tells a little earlier
        assert 0.8 * WINDOW < n_repeats < REPEATED_SHARE * WINDOW
    else:
        assert n_repeats == pytest.approx(REPEATED_SHARE * WINDOW, abs=1)


def test_nearly_one_token_is_noticed() -> None:
    """Every thirtieth token is another: 0.2 bits a token."""
    codes = [n if n % 30 == 0 else 5 for n in range(600)]
    assert collapsed_at(codes) is not None


def test_a_cycle_with_a_slip_is_noticed() -> None:
    codes = [1, 2, 3, 4] * 100
    codes[100] = 99
    assert collapsed_at(codes) is not None


@pytest.mark.parametrize("n_codes", [2, 3, 4, 5])
def test_few_tokens_at_random_are_noticed(n_codes: int) -> None:
    codes = [*draw(400, 16_384), *draw(400, n_codes)]
    found = collapsed_at(codes)
    assert found is not None
    assert found > 400 + WINDOW * 0.8


def test_a_dozen_tokens_are_left_alone() -> None:
    assert collapsed_at(draw(2000, 12)) is None


@pytest.mark.parametrize("silent_s", [1, 3, 10, 13])
def test_silence_between_words_is_left_alone(silent_s: int) -> None:
    silence = [5] * round(silent_s * SPEECH_TOKEN_RATE)
    words = draw(40, 16_384)
    assert collapsed_at([*silence, *words, *silence, *words, *silence]) is None


def test_a_long_reply_of_words_and_pauses_is_left_alone() -> None:
    """Half of it is pauses of up to 4 s, of two tokens in turns."""
    rng, codes = random.Random(1), []
    while len(codes) < 5000:
        codes += draw(rng.randrange(10, 60), 16_384, seed=len(codes))
        codes += [5, 6] * rng.randrange(25)
    assert collapsed_at(codes) is None


def test_a_phrase_said_again_and_again_is_left_alone() -> None:
    """A cycle of 2 s, as in counting or a refrain, is no collapse."""
    assert collapsed_at(draw(25, 16_384) * 40) is None


@given(st.lists(st.integers(0, 7), max_size=120), st.floats(2.0, 4.0))
@settings(deadline=None, max_examples=50)
def test_counts_are_those_of_the_definition(codes: list[int], window_s: float) -> None:
    guard = CollapseGuard(window_s)
    window = guard._window
    for n, code in enumerate(codes):
        expected = [
            sum(codes[i] == codes[i - cycle] for i in range(max(n - window + 1, cycle), n + 1))
            for cycle in range(1, MAX_CYCLE + 1)
        ]
        counts = sorted(Counter(codes[max(n - window + 1, 0) : n + 1]).values())[:-1]
        entropy = sum(c / sum(counts) * math.log2(sum(counts) / c) for c in counts)
        is_full = n + 1 >= window
        has_collapsed = max(expected) >= REPEATED_SHARE * window or (is_full and entropy < 2)
        assert guard.feed(code) == has_collapsed


@pytest.mark.parametrize("window_s", [0.0, 1.9, -3.0, float("inf"), float("nan")])
def test_a_window_that_would_hit_speech_is_refused(window_s: float) -> None:
    with pytest.raises(ConfigError, match="at least 2 seconds, or None"):
        CollapseGuard(window_s)
