"""What a microphone's sound and the keys become: sound, silence, questions, stops."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from antiphon.errors import ServerConnectionError
from antiphon.talk.call_settings import CallSettings
from antiphon.talk.live_talk import LiveTalk, loudness
from antiphon.talk.playback_buffer import PlaybackBuffer

CHUNK = 0.5 * np.ones(320, np.float32)


class FakeCall:
    def __init__(self, settings: CallSettings) -> None:
        self.settings = settings
        self.playback = PlaybackBuffer()
        self.is_busy = False
        self.sent: list[np.ndarray] = []
        self.done: list[str] = []

    async def send_sound(self, sound: np.ndarray) -> bool:
        self.sent.append(sound)
        return True

    async def commit(self) -> None:
        self.done.append("commit")

    async def drop_sound(self) -> None:
        self.done.append("drop")

    async def stop_reply(self) -> None:
        self.done.append("stop")


class Microphone:
    sample_rate = 16_000

    async def chunks(self) -> AsyncIterator[np.ndarray]:
        for _ in range(3):
            yield CHUNK


class Keys:
    def __init__(self, keys: str = "") -> None:
        self.keys = list(keys)

    async def next_key(self) -> str:
        if not self.keys:
            await asyncio.sleep(60)
        return self.keys.pop(0)


def make(settings: CallSettings) -> tuple[FakeCall, LiveTalk]:
    call = FakeCall(settings)
    return call, LiveTalk(call, Microphone(), Keys())


def test_hands_free_sends_everything() -> None:
    call, talk = make(CallSettings())
    asyncio.run(talk.run())
    assert [float(chunk[0]) for chunk in call.sent] == [0.5] * 3
    assert talk.level > 0.8


def test_muted_sends_silence() -> None:
    call, talk = make(CallSettings())

    async def work() -> None:
        await talk.press("m")
        await talk.hear(CHUNK)
        await talk.press("m")
        await talk.hear(CHUNK)

    asyncio.run(work())
    assert [float(chunk[0]) for chunk in call.sent] == [0, 0.5]


def test_half_duplex_is_deaf_while_a_reply_plays() -> None:
    call, talk = make(CallSettings(is_half_duplex=True))
    call.playback.push("a", np.ones(9_000, np.float32))
    asyncio.run(talk.hear(CHUNK))
    call.playback.flush()
    asyncio.run(talk.hear(CHUNK))
    assert [float(chunk[0]) for chunk in call.sent] == [0, 0.5]


def test_push_to_talk() -> None:
    call, talk = make(CallSettings(is_hands_free=False))

    async def work() -> None:
        await talk.hear(CHUNK)  # not speaking yet
        await talk.press(" ")
        for _ in range(10):
            await talk.hear(CHUNK)
        await talk.press(" ")
        await talk.hear(CHUNK)

    asyncio.run(work())
    assert len(call.sent) == 10
    assert call.done == ["commit"]


def test_short_press_is_no_question_and_a_press_stops_the_reply() -> None:
    call, talk = make(CallSettings(is_hands_free=False))
    call.is_busy = True

    async def work() -> None:
        await talk.press("\n")
        await talk.hear(CHUNK)
        await talk.press("\n")

    asyncio.run(work())
    assert call.done == ["stop", "drop"]


def test_space_stops_the_reply_when_hands_free() -> None:
    call, talk = make(CallSettings())
    asyncio.run(talk.press(" "))
    assert call.done == ["stop"]


def test_lost_connection_does_not_end_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    call = FakeCall(CallSettings())

    async def fail() -> None:
        call.done.append("fail")
        raise ServerConnectionError("gone")

    call.stop_reply = fail  # type: ignore[method-assign]

    class Quiet(Microphone):
        async def chunks(self) -> AsyncIterator[np.ndarray]:
            await asyncio.sleep(0.05)
            yield CHUNK

    asyncio.run(LiveTalk(call, Quiet(), Keys("  m")).run())
    assert call.done == ["fail", "fail"]


def test_loudness() -> None:
    assert loudness(np.zeros(0, np.float32)) == loudness(np.zeros(9, np.float32)) == 0
    assert loudness(np.ones(9, np.float32)) == 1
    assert loudness(np.full(9, 10 ** (-30 / 20), np.float32)) == pytest.approx(0.5)
