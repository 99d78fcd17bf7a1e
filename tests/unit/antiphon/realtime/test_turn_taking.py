"""Turns are the same however sound is cut; silence at their end is held back."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.realtime.endpointer import EndpointerOptions
from antiphon.realtime.microphone import Microphone
from antiphon.realtime.turn_taking import TAIL_MS, TurnEnded, TurnSound, TurnStarted, TurnTaker
from tests.call_bench import LoudDetector, pcm, silence

Found = tuple[list[tuple[str, int]], np.ndarray]


def take(data: bytes, cuts: list[int], rate: int) -> Found:
    """Take turns in PCM16 that is cut into pieces; gives what happened and what was heard."""
    microphone, taker = Microphone(rate), TurnTaker(LoudDetector(), EndpointerOptions())
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    happened, heard = [], [np.zeros(0, np.float32)]
    for start, end in itertools.pairwise(edges):
        for event in taker.push(microphone.push(data[start:end])):
            if isinstance(event, TurnStarted):
                happened.append(("start", event.start_ms))
                heard.append(event.samples)
            elif isinstance(event, TurnSound):
                heard.append(event.samples)
            elif isinstance(event, TurnEnded):
                happened.append(("end" if event.is_speech else "noise", event.end_ms))
    return happened, np.concatenate(heard)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 10**6), max_size=40), st.sampled_from([16_000, 24_000, 48_000]))
def test_any_cut_of_the_input_gives_the_same_turns(cuts: list[int], rate: int) -> None:
    parts = [silence(0.4, rate), pcm(0.5, rate), silence(0.25, rate), pcm(0.3, rate)]
    parts += [silence(0.7, rate), pcm(0.07, rate), silence(0.6, rate)]
    data = b"".join(parts)
    whole, pieces = take(data, [], rate), take(data, cuts, rate)
    assert pieces[0] == whole[0]
    assert np.array_equal(pieces[1], whole[1])
    assert [kind for kind, _ in whole[0]] == ["start", "end", "start", "noise"]


def test_a_turn_has_its_padding_its_pauses_and_little_of_its_end() -> None:
    data = silence(1.0) + pcm(0.5) + silence(0.3) + pcm(0.5) + silence(1.0)
    happened, heard = take(data, [], 24_000)
    (_, start_ms), (_, end_ms) = happened
    assert 1000 - 300 - 40 <= start_ms <= 1000 - 300
    assert 2300 <= end_ms <= 2300 + 64
    assert len(heard) == (end_ms + TAIL_MS - start_ms) * 16


def test_a_deaf_taker_hears_nothing_new_but_ends_what_is_open() -> None:
    taker = TurnTaker(LoudDetector(), EndpointerOptions())
    tone = np.full(16_000, 0.5, np.float32)
    assert isinstance(next(iter(taker.push(tone))), TurnStarted)
    taker.is_deaf = True
    assert taker.end() is not None
    assert not list(taker.push(tone))
