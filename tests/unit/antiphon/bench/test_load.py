"""Random arrivals, and what is made of the calls of a run, by cases worked out by hand."""

from itertools import pairwise

import pytest

from antiphon.bench.asking import Trace
from antiphon.bench.load import Call, Outcome, draw_arrivals, most_sessions, sum_up
from antiphon.bench.playback import Sound


def call(arrived_s, sounds=(), error=None, end_s=2.0):
    return Call(arrived_s, Trace(0.1, 0.1, 0.2, tuple(sounds), end_s, error=error))


SMOOTH = (Sound(0.5, 2.0), Sound(1.5, 1.0))
LATE = (Sound(1.0, 0.5), Sound(1.4, 0.5), Sound(3.0, 1.0))


def test_arrivals_come_at_the_rate():
    times = list(draw_arrivals(2.0, 1000.0, seed=1))
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < 1000
    assert len(times) == pytest.approx(2000, rel=0.06)
    gaps = [b - a for a, b in pairwise(times)]
    assert sum(gap > 0.5 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.04)  # 1 / e


def test_calls_are_summed_up():
    calls = [
        call(1.0, LATE),  # in the warm-up
        call(10.0, SMOOTH),
        call(11.0, LATE, end_s=3.5),
        call(12.0, error="no end in time", end_s=5.0),
    ]
    outcome = sum_up(calls, warm_up_s=10.0)
    assert (outcome.n_sessions, outcome.n_failures) == (3, 1)
    assert (outcome.ttfa_p50_s, outcome.ttfa_p99_s) == (0.5, 1.0)
    assert outcome.blocks_in_time == pytest.approx(2 / 3, abs=1e-4)
    assert outcome.replies_in_time == 0.5
    assert outcome.n_live == 3
    assert outcome.audio_per_s == pytest.approx((3.0 + 2.0) / 7.0, abs=1e-4)
    assert not outcome.is_flawless


def test_a_session_is_live_until_it_was_heard():
    assert call(10.0, SMOOTH).span.end_s == pytest.approx(13.5)
    assert call(10.0, LATE).span.end_s == pytest.approx(14.0)
    assert call(10.0, (Sound(0.5, 0.5),), end_s=4.0).span.end_s == pytest.approx(14.0)
    assert call(10.0, error="x").span.end_s == pytest.approx(12.0)


def outcome(n_live, n_failures=0, in_time=1.0):
    return Outcome(9, n_failures, 0.1, 0.1, 0.1, in_time, in_time, n_live, 1.0)


def test_only_flawless_runs_count():
    assert most_sessions([outcome(3), outcome(5), outcome(9, in_time=0.99)]) == 5
    assert most_sessions([outcome(3, n_failures=1)]) == 0
    assert most_sessions([]) == 0


def test_no_calls_are_no_success():
    empty = sum_up([], warm_up_s=1.0)
    assert (empty.n_sessions, empty.audio_per_s, empty.ttfa_p90_s) == (0, 0.0, None)
    assert not empty.is_flawless
