"""Streaming text: no character is ever cut, nothing is lost."""

import random

from hypothesis import given
from hypothesis import strategies as st

from antiphon.dialogue.text_stream import MAX_HELD_IDS, TextStream
from tests.dialogue_fakes import ByteTokenizer


def stream(token_ids):
    text = TextStream(ByteTokenizer())
    deltas = [text.push(token_id) for token_id in token_ids]
    return text, [delta for delta in (*deltas, text.flush()) if delta is not None]


@given(st.text(max_size=30).filter(lambda text: "\N{REPLACEMENT CHARACTER}" not in text))
def test_bytes_one_by_one_give_the_same_text(text):
    streamed, deltas = stream(text.encode())
    assert streamed.text == text.lstrip() == "".join(delta.text for delta in deltas)
    assert all("\N{REPLACEMENT CHARACTER}" not in delta.text for delta in deltas)
    assert bytes(i for delta in deltas for i in delta.token_ids).decode() == text


def test_spaces_that_a_reply_begins_with_are_not_shown():
    streamed, deltas = stream(b"  hi there")
    assert streamed.text == "hi there"
    assert [delta.text for delta in deltas][:2] == ["h", "i"]
    assert deltas[0].token_ids == tuple(b"  h")  # the model has to find them in what it said


def test_a_character_arrives_whole():
    _, deltas = stream("é你🙂".encode())
    assert [delta.text for delta in deltas] == ["é", "你", "🙂"]


def test_a_reply_that_ends_inside_a_character():
    streamed, deltas = stream("ab你".encode()[:-1])
    assert streamed.text == "ab\N{REPLACEMENT CHARACTER}"
    assert len(deltas) == 3


def test_broken_bytes_are_not_held_for_ever():
    rng = random.Random(3)
    text = TextStream(ByteTokenizer())
    held = 0
    for _ in range(500):
        held = 0 if text.push(rng.randrange(128, 256)) else held + 1
        assert held < MAX_HELD_IDS
