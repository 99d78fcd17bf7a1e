"""When listeners run out of sound, and how soon a new reply is to be heard."""

from flow_inference.playhead import FIRST_SOUND_S, Playhead


def test_sound_is_played_one_piece_after_another() -> None:
    playhead = Playhead(100)
    playhead.note_sound(200, now=10.0)
    assert playhead.deadline(now=10.5) == 12.0
    playhead.note_sound(100, now=11.0)
    assert playhead.deadline(now=11.0) == 13.0


def test_a_listener_who_ran_out_waits_for_the_next_piece() -> None:
    playhead = Playhead(100)
    playhead.note_sound(100, now=10.0)
    playhead.note_sound(100, now=20.0)
    assert playhead.deadline(now=20.0) == 21.0


def test_nothing_is_no_sound() -> None:
    playhead = Playhead(100)
    playhead.note_sound(0, now=10.0)
    assert playhead.deadline(now=30.0) == 30.0 + FIRST_SOUND_S


def test_a_new_reply_waits_only_for_listeners_who_would_run_dry() -> None:
    new, heard = Playhead(100), Playhead(100)
    heard.note_sound(100, now=10.0)  # until 11
    assert new.deadline(now=10.9) > heard.deadline(now=10.9)
    assert new.deadline(now=10.9 - FIRST_SOUND_S) < heard.deadline(now=10.9 - FIRST_SOUND_S)
