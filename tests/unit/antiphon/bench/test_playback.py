"""Playback without gaps, by cases worked out by hand."""

import random

import pytest

from antiphon.bench.playback import Sound, Span, most_at_once, playback_end, slacks
from antiphon.bench.report import percentiles
from antiphon.evaluation.report import percentile


@pytest.mark.parametrize(
    ("sounds", "expected", "end_s"),
    [
        ([], [], None),
        ([Sound(3.0, 1.0)], [], 4.0),
        ([Sound(3.0, 1.0), Sound(3.5, 2.0)], [0.5], 6.0),
        ([Sound(3.0, 1.0), Sound(4.0, 2.0)], [0.0], 6.0),  # just in time
        ([Sound(3.0, 1.0), Sound(4.5, 2.0)], [-0.5], 6.5),  # half a second of silence
        ([Sound(0.0, 1.0), Sound(0.5, 2.0), Sound(3.25, 1.0)], [0.5, -0.25], 4.25),
        ([Sound(0.0, 1.0), Sound(2.0, 1.0), Sound(2.5, 1.0)], [-1.0, -0.5], 4.0),
    ],
)
def test_slack_and_end(sounds, expected, end_s):
    assert slacks(sounds) == pytest.approx(expected)
    if end_s is not None:
        assert playback_end(sounds) == pytest.approx(end_s)


@pytest.mark.parametrize(
    ("spans", "most"),
    [
        ([], 0),
        ([(0, 1)], 1),
        ([(0, 1), (1, 2)], 1),
        ([(0, 2), (1, 3), (1.5, 1.6), (2.5, 4)], 3),
        ([(0, 10), (1, 2), (3, 4), (5, 6)], 2),
    ],
)
def test_most_at_once(spans, most):
    random.Random(0).shuffle(spans)
    assert most_at_once(Span(*span) for span in spans) == most


@pytest.mark.parametrize(
    ("values", "fraction", "expected"),
    [
        ([], 0.5, None),
        ([7.0], 0.99, 7.0),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        (range(1, 101), 0.9, 90),
        (range(1, 101), 0.99, 99),
        (range(1, 11), 0.9, 9),
        (range(1, 11), 0.99, 10),
        (range(1, 11), 1.0, 10),
    ],
)
def test_percentiles_are_nearest_ranks(values, fraction, expected):
    assert percentile(list(values), fraction) == expected


def test_percentiles_by_name():
    assert percentiles([2.0, 1.0, 3.0], "p50", "max") == [2.0, 3.0]
    assert percentiles([], "p90") == [None]
