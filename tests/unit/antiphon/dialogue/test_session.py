"""A session: what it keeps, one reply at a time, and its stop button."""

import numpy as np
import pytest

from antiphon.dialogue.session import Session, Turn, UserTurn
from antiphon.dialogue.speech_input import SpeechInput
from antiphon.errors import AudioError, PromptError, ServerBusyError


def nothing() -> None:
    """Stand in for a callback."""


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"text": "hi", "waveform": np.zeros(3, np.float32), "sample_rate": 8000},
        {"text": "hi", "speech": SpeechInput(), "sample_rate": 8000},
    ],
)
def test_a_user_turn_is_either_text_or_sound(arguments):
    with pytest.raises(PromptError, match="either text or a waveform"):
        UserTurn(**arguments)


@pytest.mark.parametrize("rate", [None, 0, -16000])
def test_sound_needs_its_rate(rate):
    with pytest.raises(AudioError, match="sample rate"):
        UserTurn(waveform=np.zeros(3, np.float32), sample_rate=rate)
    with pytest.raises(AudioError, match="sample rate"):
        UserTurn(speech=SpeechInput(), sample_rate=rate)


def test_the_oldest_turns_over_the_limit_are_forgotten():
    session = Session(max_turns=2)
    for number in range(4):
        session.append(Turn("text", (number,)))
    assert [turn.user_ids for turn in session.turns] == [(2,), (3,)]
    session.clear()
    assert session.turns == ()


def test_ids_differ_unless_given():
    assert Session().id != Session().id
    assert Session(session_id="mine").id == "mine"


def test_one_reply_at_a_time():
    session = Session()
    session.begin_turn(nothing)
    with pytest.raises(ServerBusyError, match="still answering"):
        session.begin_turn(lambda: None)
    session.end_turn(nothing)
    assert not session.is_answering
    session.begin_turn(nothing)


def test_a_finished_reply_cannot_free_a_later_one():
    session = Session()
    session.begin_turn(nothing)
    session.end_turn(lambda: None)
    assert session.is_answering


def test_cancel_reaches_only_the_reply_under_way():
    session, calls = Session(), []
    session.cancel()

    def on_cancel() -> None:
        calls.append("stopped")

    session.begin_turn(on_cancel)
    session.cancel()
    session.end_turn(on_cancel)
    session.cancel()
    assert calls == ["stopped"]
