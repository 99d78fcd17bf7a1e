"""First sounds wait as long as the pieces after them take, and no longer."""

import asyncio

import numpy as np
import pytest

from antiphon.dialogue.events import AudioChunk
from antiphon.realtime.sound_pace import (
    FIRST_WAIT_S,
    MARGIN,
    MAX_HOLD_S,
    MEMORY,
    PacedSound,
    SoundPace,
)

pytestmark = pytest.mark.anyio

RATE = 1000


def piece(seconds: float) -> AudioChunk:
    """Sound of some length."""
    return AudioChunk(np.zeros(round(seconds * RATE), np.float32), RATE, ())


def known(*waits_s: float) -> SoundPace:
    """A pace that has seen so many replies that the guess is forgotten."""
    pace = SoundPace()
    for wait_s in [0.0] * MEMORY + list(waits_s):
        pace.note(wait_s)
    return pace


def test_the_slowest_of_the_last_replies_counts_and_a_margin() -> None:
    assert SoundPace().hold_s(MARGIN * FIRST_WAIT_S - 0.1) == pytest.approx(0.1)
    assert known(0.2, 0.45, 0.3).hold_s(0.45) == pytest.approx((MARGIN - 1) * 0.45)
    assert known(0.2, 0.45, 0.3).hold_s(MARGIN * 0.45) == 0
    assert known(9.0).hold_s(0.1) == MAX_HOLD_S
    forgotten = known(0.9)
    for _ in range(MEMORY):
        forgotten.note(0.1)
    assert forgotten.hold_s(0.4) == 0


async def test_the_first_piece_waits_and_the_others_do_not() -> None:
    sent: list[AudioChunk] = []
    sound = PacedSound(known(0.3 / MARGIN), sent.append)
    first, second = piece(0.2), piece(0.2)
    sound.push(first)
    assert sent == []
    await asyncio.sleep(0.2)
    assert sent == [first]
    sound.push(second)
    assert sent == [first, second]


async def test_a_piece_that_comes_early_ends_the_wait() -> None:
    pace, sent = known(0.5 / MARGIN), []
    sound = PacedSound(pace, sent.append)
    pieces = [piece(0.2), piece(0.2)]
    for each in pieces:
        sound.push(each)
    assert sent == pieces
    await asyncio.sleep(0.35)
    assert sent == pieces  # the wait that was over does not send again


async def test_the_end_sends_what_waits_and_a_stop_forgets_it() -> None:
    for ends, n_sent in ((True, 1), (False, 0)):
        sent: list[AudioChunk] = []
        sound = PacedSound(known(0.3 / MARGIN), sent.append)
        sound.push(piece(0.2))
        sound.flush() if ends else sound.drop()
        await asyncio.sleep(0.15)
        assert len(sent) == n_sent


async def test_a_pace_that_suffices_holds_nothing_back() -> None:
    sent: list[AudioChunk] = []
    PacedSound(known(0.2 / MARGIN), sent.append).push(piece(0.25))
    assert len(sent) == 1
