"""A reply keeps what was heard: speech on the 80 ms grid, text in proportion."""

import pytest

from antiphon.dialogue.heard_reply import cut_reply
from antiphon.dialogue.session import Session, Turn
from tests.dialogue_fakes import LAYOUT, audio_ids

FIRST = [*range(13), *audio_ids(*range(26))]
REPLY = (*FIRST, *range(20, 24), *audio_ids(*range(30, 40)))


@pytest.mark.parametrize(
    ("heard_ms", "n_text", "n_audio"),
    [
        (-5, 0, 0),
        (0, 0, 0),
        (39, 0, 0),
        (40, 1, 1),
        (1040, 7, 13),
        (26 * 80, 13, 26),
        (26 * 80 + 80, 13, 27),
        (31 * 80, 15, 31),
        (36 * 80, 17, 36),
        (10**9, 17, 36),
    ],
)
def test_what_was_heard_stays(heard_ms: float, n_text: int, n_audio: int) -> None:
    heard = cut_reply(REPLY, LAYOUT, heard_ms)
    assert (heard.n_text, heard.n_audio) == (n_text, n_audio)
    assert len(heard.token_ids) == n_text + n_audio
    text = [each for each in heard.token_ids if each < LAYOUT.audio_0]
    audio = [each for each in heard.token_ids if each >= LAYOUT.audio_0]
    assert text == [each for each in REPLY if each < LAYOUT.audio_0][:n_text]
    assert audio == [each for each in REPLY if each >= LAYOUT.audio_0][:n_audio]


def test_text_without_sound_after_it_was_not_heard() -> None:
    assert cut_reply([*FIRST, 1, 2], LAYOUT, 10**6).token_ids == tuple(FIRST)
    assert cut_reply([1, 2, 3], LAYOUT, 500).token_ids == ()
    assert cut_reply([], LAYOUT, 500).token_ids == ()


def test_a_session_cuts_and_forgets_turns_by_identity() -> None:
    session = Session()
    turns = [Turn("text", (1,), REPLY), Turn("text", (1,), REPLY)]
    for turn in turns:
        session.append(turn)
    shorter, heard = session.cut(turns[1], 800, LAYOUT)
    assert session.turns == (turns[0], shorter)
    assert shorter.reply_ids == heard.token_ids and heard.n_audio == 10
    session.cut(turns[1], 0, LAYOUT)  # is not there any more
    assert session.turns == (turns[0], shorter)
    empty, _ = session.cut(shorter, 0, LAYOUT)
    assert session.turns[1] is empty and empty.reply_ids == ()
    session.remove(turns[0])
    assert session.turns == (empty,)
