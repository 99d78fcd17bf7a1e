"""Calls inside the process: the order of events, interruptions, what is kept, what is refused."""

import asyncio
import base64
from pathlib import Path

import pytest

from tests.call_bench import (
    REPLY,
    REPLY_MS,
    REPLY_TEXT,
    Bench,
    Driver,
    call,
    pcm,
    silence,
    spoken,
)
from tests.dialogue_fakes import LAYOUT, FakeEngine

pytestmark = pytest.mark.anyio

SPEAKING = [
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "antiphon.words",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]


def manual(**audio: object) -> dict:
    """Settings for push to talk."""
    return {"type": "realtime", "audio": {"input": {"turn_detection": None, **audio}}}


async def hear_reply(driver: Driver, n: int = 1) -> dict:
    """Ask by voice and wait for the end of the n-th response."""
    await driver.speak(spoken())
    return (await driver.wait_for("response.done", n))["response"]


def runs(kinds: list[str]) -> list[str]:
    """Leave out what comes again, in the order of the first of each."""
    return list(dict.fromkeys(kinds))


async def test_events_of_a_spoken_turn_come_in_order(tmp_path: Path) -> None:
    with Bench(tmp_path).open() as parts:
        async with call(parts) as driver:
            done = await hear_reply(driver)
            kinds = driver.kinds("antiphon.state", "antiphon.item")
    before = ["session.created", "antiphon.history", "input_audio_buffer.speech_started"]
    before += ["input_audio_buffer.speech_stopped", "input_audio_buffer.committed"]
    before += ["conversation.item.added", "conversation.item.done", "response.created"]
    assert kinds[: len(before)] == before
    assert runs(kinds[len(before) :]) == SPEAKING
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": REPLY_TEXT}]
    timings = done["antiphon"]["timings"]
    order = ["endpoint_ms", "tokenise_ms", "first_text_ms", "first_audio_ms", "total_ms"]
    assert [timings[name] for name in order] == sorted(timings[name] for name in order)
    assert 300 <= timings["endpoint_ms"] <= 460
    states = [each["state"] for each in driver.all("antiphon.state")]
    assert states == ["listening", "hearing", "thinking", "speaking"]
    assert all(each["event_id"] for each in driver.events)


async def test_the_model_hears_little_of_the_silence(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with bench.open() as parts:
        async with call(parts) as driver:
            await hear_reply(driver)
    n_tokens = sum(LAYOUT.audio_0 <= each < 364 for each in bench.engine.prompts[-1])
    heard_ms = n_tokens * 80
    assert 1000 + 300 <= heard_ms <= 1000 + 300 + 160 + 3 * 80


async def test_noise_leaves_no_trace(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with bench.open() as parts:
        async with call(parts) as driver:
            await driver.speak(silence(0.5) + pcm(0.06) + silence(0.7))
            await driver.wait_for("input_audio_buffer.cleared")
            await asyncio.sleep(0.05)
            assert not driver.all("response.created") and not driver.stored.items
            assert not driver.stored.session.turns and not driver.stored.session.is_answering
            assert (await hear_reply(driver))["status"] == "completed"
            assert len(driver.stored.session.turns) == 1
    assert bench.tokenizer.n_open == 0


async def test_items_clips_and_history_are_kept(tmp_path: Path) -> None:
    with Bench(tmp_path, transcribe=lambda codes: f"{len(codes)} tokens").open() as parts:
        async with call(parts) as driver:
            await hear_reply(driver)
            await driver.wait_for("conversation.item.input_audio_transcription.completed")
            conversation = driver.stored.id
        assert (await driver.wait_for("antiphon.history"))["items"] == []  # new, and said to be
        user, reply = driver.stored.items
        assert (user.role, user.kind, reply.role, reply.text) == (
            *("user", "speech"),
            *("assistant", REPLY_TEXT),
        )
        assert user.text.endswith("tokens")
        for each in (user, reply):
            assert each.clip is not None and each.clip.stat().st_size > each.audio_ms * 32
        async with call(parts, conversation) as again:
            history = (await again.wait_for("antiphon.history"))["items"]
            assert [each["id"] for each in history] == [user.id, reply.id]
            assert all(each["has_clip"] for each in history)


async def test_speaking_into_a_reply_stops_it_and_cuts_the_history(tmp_path: Path) -> None:
    bench = Bench(tmp_path, engine=FakeEngine(REPLY, hang_at=50))
    with bench.open() as parts:
        async with call(parts) as driver:
            await driver.speak(spoken())
            first = await driver.wait_for("response.output_audio.delta")
            await driver.wait_for_sound(810)  # what it will have played of it
            await driver.say(
                "antiphon.playback", item_id=first["item_id"], played_ms=100, is_playing=True
            )
            await driver.say("session.update", session={"antiphon": {"echo_guard": False}})
            n = len(driver.events)
            await driver.speak(pcm(0.4))
            await driver.wait_for("input_audio_buffer.speech_started", 2)
            done = (await driver.wait_for("response.done"))["response"]
            assert done["status"] == "cancelled"
            assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
            kinds = [each["type"] for each in driver.events[n:]]
            assert kinds.index("input_audio_buffer.speech_started") < kinds.index("response.done")
            await driver.say(
                "conversation.item.truncate",
                item_id=first["item_id"],
                content_index=0,
                audio_end_ms=810,
            )
            await driver.wait_for("conversation.item.truncated")
            await driver.until(lambda: driver.stored.items[1].text == REPLY_TEXT[:5])
            (turn,) = driver.stored.session.turns
            n_audio = sum(each >= LAYOUT.audio_0 for each in turn.reply_ids)
            assert n_audio == 10 and len(turn.reply_ids) - n_audio == 5  # 13 * 10 / 26
            item = driver.stored.find(first["item_id"])
            assert item is not None and (item.status, item.heard_ms) == ("cut", 810)
            assert item.text == REPLY_TEXT[:5]


async def test_without_a_truncate_the_last_report_decides(tmp_path: Path) -> None:
    bench = Bench(tmp_path, engine=FakeEngine(REPLY, hang_at=50))
    with bench.open() as parts:
        async with call(parts) as driver:
            await driver.speak(spoken())
            first = await driver.wait_for("response.output_audio.delta")
            await driver.wait_for_sound(560)
            await driver.say(
                "antiphon.playback", item_id=first["item_id"], played_ms=560, is_playing=False
            )
            await driver.say("response.cancel")
            await driver.wait_for("response.done")
            await driver.until(lambda: driver.stored.items[1].heard_ms == 560)


async def test_going_on_before_any_sound_makes_one_question(tmp_path: Path) -> None:
    bench = Bench(tmp_path, engine=FakeEngine(REPLY, delay_s=0.02))
    with bench.open() as parts:
        async with call(parts) as driver:
            await driver.speak(spoken())
            await driver.wait_for("response.created")
            await driver.speak(pcm(0.5) + silence(0.6))
            done = (await driver.wait_for("response.done", 2))["response"]
            assert driver.all("response.done")[0]["response"]["status"] == "cancelled"
            assert done["status"] == "completed"
            assert len(driver.stored.session.turns) == 1
    n_tokens = sum(LAYOUT.audio_0 <= each < 364 for each in bench.engine.prompts[-1])
    assert n_tokens * 80 >= 1000 + 500 + 300


async def test_push_to_talk(tmp_path: Path) -> None:
    with Bench(tmp_path).open() as parts:
        async with call(parts) as driver:
            await driver.say("session.update", session=manual())
            await driver.say("input_audio_buffer.commit", event_id="early")
            await driver.speak(pcm(0.8))
            await driver.say("input_audio_buffer.commit")
            await asyncio.sleep(0.05)
            assert not driver.all("response.created")
            await driver.say("response.create")
            done = await driver.wait_for("response.done")
            assert done["response"]["status"] == "completed"
            assert not driver.all("input_audio_buffer.speech_started")
            (refused,) = driver.all("error")
            assert refused["error"]["code"] == "input_audio_buffer_commit_empty"
            assert refused["error"]["event_id"] == "early"
            assert driver.stored.items[0].audio_ms in range(790, 801)
            await driver.speak(pcm(0.5))
            await driver.say("input_audio_buffer.clear")
            await asyncio.sleep(0.05)
            assert len(driver.stored.items) == 2 and not driver.stored.session.is_answering


async def test_typed_words_and_clips_are_answered(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    clip = base64.b64encode(pcm(0.5)).decode()
    with bench.open() as parts:
        async with call(parts, is_binary=False) as driver:
            for number, content in enumerate(
                ({"type": "input_text", "text": "Hello"}, {"type": "input_audio", "audio": clip})
            ):
                item = {"type": "message", "role": "user", "content": [content]}
                await driver.say("conversation.item.create", item=item)
                await driver.say("response.create")
                await driver.wait_for("response.done", number + 1)
            assert [each.kind for each in driver.stored.items] == [
                *("text", "speech"),
                *("speech", "speech"),
            ]
            sound = b"".join(
                base64.b64decode(each["delta"])
                for each in driver.all("response.output_audio.delta")
            )
            assert abs(len(sound) / 48 - 2 * REPLY_MS) <= 4
            await driver.say("response.create")
            assert (await driver.wait_for("error"))["error"]["code"] == "nothing_to_answer"


async def test_text_alone_has_no_sound(tmp_path: Path) -> None:
    with Bench(tmp_path).open() as parts:
        async with call(parts) as driver:
            await driver.say("session.update", session={"output_modalities": ["text"]})
            done = await hear_reply(driver)
            assert done["output"][0]["content"] == [{"type": "output_text", "text": REPLY_TEXT}]
            assert not driver.all("response.output_audio.delta") and not driver.sound
            text = "".join(each["delta"] for each in driver.all("response.output_text.delta"))
            assert text == REPLY_TEXT
