"""Calls inside the process: what is refused, what waits, what windows see of each other."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from antiphon.api.realtime_session import SessionSettings, merge
from antiphon.audio import float_to_pcm16, resample
from antiphon.errors import ServerBusyError
from antiphon.realtime.parts import RealtimeOptions
from tests.call_bench import (
    RATE,
    REPLY,
    Bench,
    Driver,
    call,
    pcm,
    silence,
    spoken,
)
from tests.dialogue_fakes import LAYOUT, FakeDecoder, FakeEngine
from tests.fake_pipeline import RATE as PIPELINE_RATE
from tests.fake_pipeline import FakePipeline

pytestmark = pytest.mark.anyio


async def begin_to_speak(driver: Driver) -> None:
    """Say 0.9 s of a question, until it is noticed."""
    await driver.speak(silence(0.5) + pcm(0.9))
    await driver.wait_for("input_audio_buffer.speech_started")


async def hear_reply(driver: Driver, n: int = 1) -> dict:
    """Ask by voice and wait for the end of the n-th response."""
    await driver.speak(spoken())
    return (await driver.wait_for("response.done", n))["response"]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "invalid_json"),
        ("[1]", "invalid_json"),
        ('{"type": "no.such"}', "unknown_event"),
        ("{}", "unknown_event"),
        ('{"type": "input_audio_buffer.append"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "?"}', "invalid_value"),
        ('{"type": "session.update", "session": {"temperature": "hot"}}', "invalid_value"),
        ('{"type": "session.update", "session": {"max_output_tokens": 0}}', "invalid_value"),
        (
            '{"type": "session.update", "session": {"audio": {"input": {"format": {"rate": 1}}}}}',
            "invalid_value",
        ),
        (
            '{"type": "session.update", "session": {"audio": {"output": {"format": '
            '{"rate": 16000}}}}}',
            "invalid_value",
        ),
        ('{"type": "conversation.item.create", "item": {"type": "image"}}', "unsupported_item"),
        ('{"type": "conversation.item.create", "item": {"content": []}}', "invalid_item"),
        ('{"type": "conversation.item.delete", "item_id": "x"}', "item_not_found"),
        ('{"type": "conversation.item.retrieve", "item_id": "x"}', "item_not_found"),
        (
            '{"type": "conversation.item.truncate", "item_id": "x", "audio_end_ms": 1}',
            "item_not_found",
        ),
        (
            '{"type": "conversation.item.truncate", "item_id": "x", "audio_end_ms": -1}',
            "invalid_value",
        ),
        ('{"type": "response.cancel"}', "response_cancel_not_active"),
        ('{"type": "response.create"}', "nothing_to_answer"),
        ('{"type": "antiphon.playback", "item_id": "x", "played_ms": -5}', "invalid_value"),
    ],
)
async def test_a_bad_event_is_told_and_the_call_goes_on(
    tmp_path: Path, frame: str, code: str
) -> None:
    with Bench(tmp_path).open() as parts:
        async with call(parts) as driver:
            await driver.call.take_event(frame)
            refused = (await driver.wait_for("error"))["error"]
            assert refused["code"] == code and refused["message"]
            await driver.say("antiphon.ping", t=7)
            assert (await driver.wait_for("antiphon.pong"))["t"] == 7


async def test_settings_merge_and_what_is_not_done_is_told(tmp_path: Path) -> None:
    with Bench(tmp_path).open() as parts:
        async with call(parts) as driver:
            change = {
                "temperature": 0.7,
                "audio": {
                    "input": {"turn_detection": {"type": "server_vad", "threshold": 0.6}},
                    "output": {"voice": "alloy", "speed": 1.25},
                },
                "instructions": "Be kind.",
                "unknown": 1,
            }
            await driver.say("session.update", session=change)
            session = (await driver.wait_for("session.updated"))["session"]
            await driver.wait_for("antiphon.warning", 3)
    assert session["temperature"] == 0.7
    assert session["audio"]["input"]["turn_detection"]["threshold"] == 0.6
    assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 400
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": RATE}
    codes = {each["code"] for each in driver.all("antiphon.warning")}
    assert codes == {"voice_unknown", "speed_ignored", "instructions_ignored"}
    merged = merge(SessionSettings(), {"audio": {"input": {"turn_detection": None}}})
    assert merged.audio.input.turn_detection is None


async def test_half_duplex_hears_nothing_while_a_reply_plays(tmp_path: Path) -> None:
    with Bench(tmp_path).open() as parts:
        async with call(parts) as driver:
            await driver.say("session.update", session={"antiphon": {"half_duplex": True}})
            await hear_reply(driver)
            await driver.speak(pcm(0.5) + silence(0.5))
            assert len(driver.all("input_audio_buffer.speech_started")) == 1


async def test_without_interruption_the_next_turn_waits(tmp_path: Path) -> None:
    bench = Bench(tmp_path, engine=FakeEngine(REPLY, delay_s=0.01))
    detection = {"type": "server_vad", "interrupt_response": False}
    with bench.open() as parts:
        async with call(parts) as driver:
            await driver.say("session.update", session={"antiphon": {"echo_guard": False}})
            await driver.say(
                "session.update", session={"audio": {"input": {"turn_detection": detection}}}
            )
            await driver.speak(spoken())
            await driver.wait_for("response.created")
            await driver.speak(spoken())
            await driver.wait_for("response.done", 2)
            statuses = [each["response"]["status"] for each in driver.all("response.done")]
            assert statuses == ["completed", "completed"]
            kinds = [each["type"] for each in driver.events]
            first_done = kinds.index("response.done")
            assert kinds.index("response.created", kinds.index("response.created") + 1) > first_done


async def test_a_full_server_makes_the_turn_wait(tmp_path: Path) -> None:
    class FullOnce(FakeEngine):
        async def generate(self, *args: object, **kwargs: object):  # type: ignore[override]
            if len(self.prompts) == 0:
                self.prompts.append([])
                raise ServerBusyError("full", queue_length=2, retry_after_s=0.05)
            async for chunk in super().generate(*args, **kwargs):  # type: ignore[arg-type]
                yield chunk

    with Bench(tmp_path, engine=FullOnce(REPLY)).open() as parts:
        async with call(parts) as driver:
            done = await hear_reply(driver)
            (queue,) = driver.all("antiphon.queue")
    assert done["status"] == "completed"
    assert (queue["position"], queue["retry_after_s"]) == (3, 0.05)


async def test_a_failed_reply_is_told_and_the_next_works(tmp_path: Path) -> None:
    with Bench(tmp_path, responder=FakePipeline(n_chunks=2, chunk_s=0.1)).open() as parts:
        async with call(parts) as driver:
            for number, words in enumerate(("please fail", "please break", "please work")):
                item = {"role": "user", "content": [{"type": "input_text", "text": words}]}
                await driver.say("conversation.item.create", item=item)
                await driver.say("response.create")
                await driver.wait_for("response.done", number + 1)
            statuses = [each["response"]["status"] for each in driver.all("response.done")]
            assert statuses == ["failed", "failed", "completed"]
            assert "does not answer" in driver.all("error")[0]["error"]["message"]
            assert [each.status for each in driver.stored.items if each.role == "assistant"] == [
                *("failed", "completed"),
            ]


async def test_two_windows_see_each_other_and_take_turns(tmp_path: Path) -> None:
    bench = Bench(tmp_path, engine=FakeEngine(REPLY, delay_s=0.005))
    with bench.open() as parts:
        async with call(parts) as one, call(parts, one.stored.id) as other:
            await one.speak(silence(0.5) + pcm(1.0))
            await one.wait_for("input_audio_buffer.speech_started")
            await asyncio.sleep(0.05)
            item = {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}
            await other.say("conversation.item.create", item=item)
            await other.say("response.create")
            queue = await other.wait_for("antiphon.queue")
            assert "another window" in queue["text"]
            await one.speak(silence(0.6))
            await one.wait_for("response.done")
            await other.wait_for("response.done")
            shown = {each["item"]["id"] for each in other.all("antiphon.item")}
            assert {each.id for each in one.stored.items if each.kind == "speech"} <= shown | {
                each["item_id"] for each in other.all("response.content_part.added")
            }
            assert len(one.stored.session.turns) == 2


async def test_closing_a_call_frees_everything(tmp_path: Path) -> None:
    bench = Bench(tmp_path, engine=FakeEngine(REPLY, hang_at=50))
    with bench.open() as parts:
        async with call(parts) as driver:
            await driver.speak(spoken())
            await driver.wait_for("response.output_audio.delta")
        assert bench.engine.n_open == 0 and bench.tokenizer.n_open == 0
        assert not driver.stored.session.is_answering and driver.stored.is_idle
        assert driver.stored.items[-1].status in ("cut", "cancelled")


async def test_deleted_messages_are_forgotten(tmp_path: Path) -> None:
    with Bench(tmp_path).open() as parts:
        async with call(parts) as driver:
            await hear_reply(driver)
            item_id = driver.stored.items[0].id
            await driver.say("conversation.item.retrieve", item_id=item_id)
            await driver.wait_for("conversation.item.retrieved")
            await driver.say("conversation.item.delete", item_id=item_id)
            await driver.wait_for("conversation.item.deleted")
            await driver.until(lambda: not driver.stored.session.turns)
            assert len(driver.stored.items) == 1


async def test_tokens_are_shown_on_demand(tmp_path: Path) -> None:
    settings = SessionSettings()
    own = settings.antiphon.model_copy(update={"show_tokens": True})
    options = replace(RealtimeOptions(), settings=settings.model_copy(update={"antiphon": own}))
    with Bench(tmp_path, options=options, decoder=FakeDecoder()).open() as parts:
        async with call(parts) as driver:
            await hear_reply(driver)
            tokens = await driver.wait_for("antiphon.tokens")
    assert tokens["audio"] == [*range(26), *range(24)]
    assert json.dumps(tokens["text"]) and len(tokens["user"]) > 10


async def test_quiet_after_a_reply_is_told_where_wanted(tmp_path: Path) -> None:
    detection = {"type": "server_vad", "idle_timeout_ms": 1000}
    with Bench(tmp_path).open() as parts:
        async with call(parts) as driver:
            await driver.say(
                "session.update", session={"audio": {"input": {"turn_detection": detection}}}
            )
            done = await hear_reply(driver)
            item_id = done["output"][0]["id"]
            await driver.say("antiphon.playback", item_id=item_id, played_ms=4000, is_playing=False)
            await driver.speak(silence(1.5))
            await driver.wait_for("input_audio_buffer.timeout_triggered")
            assert len(driver.all("input_audio_buffer.timeout_triggered")) == 1


async def test_words_typed_while_somebody_speaks_are_answered_first(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with bench.open() as parts:
        async with call(parts) as driver:
            await begin_to_speak(driver)
            content = [{"type": "input_text", "text": "Hello"}]
            item = {"type": "message", "role": "user", "content": content}
            await driver.say("conversation.item.create", item=item)
            await driver.say("response.create")
            await driver.speak(silence(0.6))
            await driver.wait_for("response.done", 2)
            statuses = [each["response"]["status"] for each in driver.all("response.done")]
            assert statuses == ["completed", "completed"]
            assert [each.kind for each in driver.stored.session.turns] == ["text", "speech"]
    n_tokens = sum(LAYOUT.audio_0 <= each < 364 for each in bench.engine.prompts[-1])
    assert n_tokens * 80 >= 900 + 300  # all that was said, also before the words were typed


async def test_settings_that_change_while_somebody_speaks_lose_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with bench.open() as parts:
        async with call(parts) as driver:
            await begin_to_speak(driver)
            await asyncio.sleep(0.05)  # the first reader has heard some of it
            await driver.say("session.update", session={"temperature": 0.7})
            await driver.speak(silence(0.6))
            await driver.wait_for("response.done")
    n_tokens = sum(LAYOUT.audio_0 <= each < 364 for each in bench.engine.prompts[-1])
    assert n_tokens * 80 >= 900 + 300
    assert bench.engine.samplings[-1].temperature == 0.7


async def test_the_end_of_a_reply_that_comes_back_late_is_no_turn(tmp_path: Path) -> None:
    pipeline = FakePipeline(n_chunks=4, pace_s=0.0)  # 1.6 s of a tone
    bench = Bench(tmp_path, responder=pipeline)
    content = [{"type": "input_text", "text": "Hello"}]
    item = {"type": "message", "role": "user", "content": content}
    heard = resample(pipeline.tone(0), PIPELINE_RATE, RATE)[: RATE // 5]
    echo = float_to_pcm16(0.3 * heard).tobytes()
    with bench.open() as parts:
        async with call(parts) as driver:
            await driver.say("conversation.item.create", item=item)
            await driver.say("response.create")
            played = (await driver.wait_for("response.output_audio.delta"))["item_id"]
            await driver.wait_for("response.done")
            for number in range(8):
                await driver.say("antiphon.playback", item_id=played, played_ms=number * 200)
                await driver.speak(echo)
            await driver.say("antiphon.playback", item_id=played, played_ms=1600, is_playing=False)
            await driver.speak(echo + silence(0.7))
            assert not driver.all("input_audio_buffer.speech_started")
            await driver.speak(pcm(0.3))
            await driver.wait_for("input_audio_buffer.speech_started")
