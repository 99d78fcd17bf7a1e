"""How the bubble of a reply grows and how it is completed."""

import numpy as np
import pytest

from antiphon.audio import read_audio
from antiphon.demo.conversation import Conversation
from antiphon.demo.labels import Phrases
from antiphon.demo.live_reply import LiveReply
from antiphon.dialogue.events import (
    AudioChunk,
    TextDelta,
    TurnDone,
    TurnFailed,
    TurnTimings,
    UserTokens,
)

TIMINGS = TurnTimings(0.1, 0.2, 0.3, 0.4, 1.0)


@pytest.fixture
def conversation(tmp_path):
    return Conversation(clip_root=tmp_path)


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


def test_events_fill_bubble_tokens_and_clip(conversation):
    reply = LiveReply(conversation)
    reply.take(UserTokens((1, 2, 3)))
    reply.take(TextDelta("hello ", (10,)))
    assert conversation.messages[-1] == {"role": "assistant", "content": ["hello "]}
    sound = reply.take(chunk(0.5))
    assert sound is not None
    assert len(sound) == 2205
    reply.take(TextDelta("there", (11,)))
    reply.take(chunk(-0.25))
    reply.take(done())
    clip = reply.close(Phrases())
    assert conversation.messages[-1]["content"] == ["hello there", clip]
    waveform = read_audio(clip["path"], 22_050)
    assert np.allclose(waveform[:2205], 0.5, atol=1e-4)
    assert np.allclose(waveform[2205:], -0.25, atol=1e-4)
    assert (reply.tokens.user, reply.tokens.text) == ([1, 2, 3], [10, 11])
    assert reply.tokens.audio == [7, 8, 7, 8]
    assert reply.tokens.timings == TIMINGS
    assert reply.summary(Phrases()) == "Answered · first sound after 0.40 s · 0.2 s of speech"


def test_empty_chunks_make_no_sound(conversation):
    reply = LiveReply(conversation)
    assert reply.take(chunk(0.5, n=0)) is None
    assert not reply.has_sound


def test_reply_without_speech_says_so(conversation):
    reply = LiveReply(conversation)
    reply.take(done(text="", audio_s=0.0, timings=TurnTimings(0, None, None, None, 1)))
    assert reply.close(Phrases()) is None
    assert conversation.messages[-1]["content"] == [Phrases().silent]
    assert reply.summary(Phrases()) == f"Answered · {Phrases().silent}"


def test_failure_keeps_what_was_said(conversation):
    reply = LiveReply(conversation)
    reply.take(TextDelta("half", (1,)))
    reply.take(TurnFailed("the server is down", TIMINGS))
    reply.close(Phrases())
    assert conversation.messages[-1]["content"] == ["half", "⚠ No answer: the server is down"]


def test_stopped_reply_is_marked_and_keeps_its_clip(conversation):
    reply = LiveReply(conversation)
    reply.take(TextDelta("half", (1,)))
    reply.take(chunk(0.5))
    clip = reply.close(Phrases())
    assert conversation.messages[-1]["content"] == ["half", clip, "■ Stopped"]
    assert reply.summary(Phrases()) == "Stopped"


def test_summary_tells_of_limits(conversation):
    reply = LiveReply(conversation)
    reply.take(done(stop_reason="length", n_dropped_turns=2))
    summary = reply.summary(Phrases())
    assert Phrases().cut in summary
    assert "2 earlier turns" in summary
