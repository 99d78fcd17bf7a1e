"""How the bubble of a reply grows and how it is completed."""

import numpy as np
import pytest

from antiphon.audio import read_audio
from antiphon.demo.conversation import Conversation, Conversations
from antiphon.demo.labels import Phrases
from antiphon.demo.live_reply import LiveReply, TokenView
from antiphon.dialogue.events import (
    AudioChunk,
    TextDelta,
    TurnDone,
    TurnFailed,
    TurnTimings,
    UserTokens,
)
from antiphon.dialogue.turn_pipeline import TurnOptions
from antiphon.realtime.conversation_store import ConversationItem, ConversationStore

TIMINGS = TurnTimings(0.1, 0.2, 0.3, 0.4, 1.0)


OPTIONS = TurnOptions(temperature=0.5, seed=3)


@pytest.fixture
def conversation(tmp_path) -> Conversation:
    return Conversations(ConversationStore(tmp_path)).open(None)


@pytest.fixture
def reply(conversation) -> LiveReply:
    return LiveReply(conversation, conversation.begin_turn(), OPTIONS)


def last_bubble(conversation) -> list[object]:
    return conversation.bubbles(Phrases())[-1]["content"]


def done(**changes) -> TurnDone:
    values = {
        "text": "hello there",
        "audio_s": 0.2,
        "n_text_tokens": 2,
        "n_audio_tokens": 3,
        "stop_reason": "stop",
        "timings": TIMINGS,
    }
    return TurnDone(**(values | changes))


def chunk(value: float, n: int = 2205) -> AudioChunk:
    return AudioChunk(np.full(n, value, np.float32), 22_050, (7, 8))


def test_events_fill_bubble_tokens_and_clip(conversation, reply):
    reply.take(UserTokens((1, 2, 3)))
    reply.take(TextDelta("hello ", (10,)))
    assert last_bubble(conversation) == ["hello "]
    sound = reply.take(chunk(0.5))
    assert sound is not None
    assert len(sound) == 2205
    reply.take(TextDelta("there", (11,)))
    reply.take(chunk(-0.25))
    reply.take(done())
    clip = reply.close()
    text, replay = last_bubble(conversation)
    assert (text, replay["path"]) == ("hello there", clip)
    waveform = read_audio(clip, 22_050)
    assert np.allclose(waveform[:2205], 0.5, atol=1e-4)
    assert np.allclose(waveform[2205:], -0.25, atol=1e-4)
    assert (reply.tokens.user, reply.tokens.text) == ([1, 2, 3], [10, 11])
    assert reply.tokens.audio == [7, 8, 7, 8]
    assert reply.tokens.timings["total_ms"] == 1000
    assert reply.summary(Phrases()) == "Answered · first sound after 0.40 s · 0.2 s of speech"


def test_empty_chunks_make_no_sound(reply):
    assert reply.take(chunk(0.5, n=0)) is None
    assert not reply.has_sound


def test_reply_without_speech_says_so(conversation, reply):
    reply.take(done(text="", audio_s=0.0, timings=TurnTimings(0, None, None, None, 1)))
    assert reply.close() is None
    assert last_bubble(conversation) == [Phrases().silent]
    assert reply.summary(Phrases()) == f"Answered · {Phrases().silent}"


def test_failure_keeps_what_was_said(conversation, reply):
    reply.take(TextDelta("half", (1,)))
    reply.take(TurnFailed("the server is down", TIMINGS))
    reply.close()
    assert last_bubble(conversation) == ["half", "⚠ No answer: the server is down"]


def test_stopped_reply_is_marked_and_keeps_its_clip(conversation, reply):
    reply.take(TextDelta("half", (1,)))
    reply.take(chunk(0.5))
    clip = reply.close()
    text, replay, ending = last_bubble(conversation)
    assert (text, replay["path"], ending) == ("half", clip, "■ Stopped")
    assert reply.summary(Phrases()) == "Stopped"


def test_summary_tells_of_limits(conversation, reply):
    reply.take(done(stop_reason="length", n_dropped_turns=2))
    summary = reply.summary(Phrases())
    assert Phrases().cut in summary
    assert "2 earlier turns" in summary


def test_what_an_item_remembers_can_be_shown_again(conversation, reply):
    reply.take(UserTokens((1, 2, 3)))
    reply.take(TextDelta("hello", (10,)))
    reply.take(chunk(0.5))
    reply.take(done(rtf=0.5))
    reply.close()
    item = conversation.last_reply()
    assert TokenView.of(item) == reply.tokens
    assert item.details["sampling"]["temperature"] == 0.5
    assert item.details["stop_reason"] == "stop"
    assert item.audio_ms == 100


@pytest.mark.parametrize(
    "details", [{}, {"tokens": "none", "timings": [1]}, {"tokens": {"user": "12"}, "rtf": "fast"}]
)
def test_details_of_another_kind_are_left_out(details):
    item = ConversationItem("item_1", "assistant", "speech", details=details)
    assert TokenView.of(item) == TokenView()
    assert TokenView.of(None) == TokenView()
