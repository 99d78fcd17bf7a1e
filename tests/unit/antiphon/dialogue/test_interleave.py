"""The splitter: text, speech and every way a reply can end or go wrong."""

import random

import pytest

from antiphon.dialogue.interleave import (
    AudioToken,
    EndOfTurn,
    IgnoredToken,
    InterleaveSplitter,
    TextToken,
)
from tests.dialogue_fakes import LAYOUT, audio_ids


def split(token_ids):
    splitter = InterleaveSplitter(LAYOUT)
    return splitter, [splitter.feed(token_id) for token_id in token_ids]


def test_a_regular_reply():
    text, audio = list(b"thirteen text"), audio_ids(*range(26))
    splitter, tokens = split([*text, *audio, LAYOUT.user])
    assert tokens[:13] == [TextToken(token_id) for token_id in text]
    assert tokens[13:39] == [AudioToken(code) for code in range(26)]
    assert tokens[39] == EndOfTurn(LAYOUT.user)
    assert (splitter.n_text, splitter.n_audio, splitter.n_ignored) == (13, 26, 0)


@pytest.mark.parametrize("stop_id", LAYOUT.stop)
def test_every_end_id_ends_and_later_ids_are_ignored(stop_id):
    splitter, tokens = split([65, stop_id, 66, *audio_ids(1), stop_id])
    assert tokens[1] == EndOfTurn(stop_id)
    assert tokens[2:] == [IgnoredToken(66), IgnoredToken(301), IgnoredToken(stop_id)]
    assert splitter.has_ended
    assert (splitter.n_text, splitter.n_audio, splitter.n_ignored) == (1, 0, 3)


def test_the_token_limit_leaves_the_reply_open():
    splitter, _ = split([*b"cut", *audio_ids(1, 2)])
    assert not splitter.has_ended


def test_a_reply_without_audio():
    splitter, tokens = split([*b"only text", LAYOUT.stop[0]])
    assert splitter.n_audio == 0
    assert isinstance(tokens[-1], EndOfTurn)


def test_a_reply_without_text():
    splitter, _ = split([*audio_ids(1, 2, 3), LAYOUT.user])
    assert (splitter.n_text, splitter.n_audio) == (0, 3)


def test_another_rhythm_than_13_to_26_is_trusted():
    token_ids = [*b"ab", *audio_ids(1), *b"c", *audio_ids(*range(40)), *b"defg" * 5]
    random.Random(1).shuffle(token_ids)
    splitter, _ = split(token_ids)
    assert (splitter.n_text, splitter.n_audio, splitter.n_ignored) == (23, 41, 0)


@pytest.mark.parametrize("code", [0, 63])
def test_the_first_and_last_speech_token(code):
    assert split(audio_ids(code))[1] == [AudioToken(code)]


@pytest.mark.parametrize(
    "token_id",
    [
        -1,
        257,  # [MASK]
        258,
        LAYOUT.system,
        LAYOUT.assistant,
        LAYOUT.begin_of_audio,
        LAYOUT.end_of_audio,
        299,  # a reserved id
        LAYOUT.audio_0 + LAYOUT.n_audio,  # a padding row
        10**9,
    ],
)
def test_ids_that_are_neither_are_ignored(token_id):
    splitter, tokens = split([65, token_id, *audio_ids(7)])
    assert tokens == [TextToken(65), IgnoredToken(token_id), AudioToken(7)]
    assert splitter.n_ignored == 1
    assert not splitter.has_ended
