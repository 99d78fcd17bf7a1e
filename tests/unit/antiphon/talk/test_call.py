"""A call against a server that speaks the same events: questions, stops, losses, refusals."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from antiphon.errors import ConfigError, ServerConnectionError
from antiphon.talk import call as call_module
from antiphon.talk.call import Call
from antiphon.talk.call_settings import Address, CallSettings
from antiphon.talk.call_state import EMPTY, LOST, CallObserver
from antiphon.talk.clip_call import ClipCall, ClipTurn
from antiphon.talk.playback_buffer import PlaybackBuffer
from antiphon.talk.wav_speaker import WavSpeaker
from tests.fake_call_server import RATE, FakeCallServer, Script, fake_call_server, tone, until
from tests.fake_call_server import run_to_the_end as run

CLIP = 0.1 * np.sin(np.arange(8_000) / 8).astype(np.float32)  # half a second
BY_KEY = CallSettings(is_hands_free=False)


class Notes(CallObserver):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def on_notice(self, message: str) -> None:
        self.notices.append(message)


@asynccontextmanager
async def open_call(
    server: FakeCallServer, settings: CallSettings = BY_KEY, is_paced: bool = False
) -> AsyncIterator[tuple[Call, WavSpeaker, Notes]]:
    """A running call with a speaker that writes down what it hears."""
    notes, playback = Notes(), PlaybackBuffer()
    call = Call(Address(server.url), settings, playback, input_rate=16_000, observer=notes)
    speaker = WavSpeaker(playback, is_paced)
    tasks = [asyncio.ensure_future(each) for each in (call.run(), speaker.run())]
    try:
        yield call, speaker, notes
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def ask_clip(call: Call, is_paced: bool = False) -> ClipTurn:
    return await ClipCall(call, 16_000, is_paced).ask(CLIP)


def test_a_clip_is_sent_whole_and_answered() -> None:
    async def work() -> None:
        async with (
            fake_call_server(Script()) as server,
            open_call(server) as (call, speaker, _),
        ):
            turn = await ask_clip(call)
            assert (turn.reply.text, turn.reply.status) == ("It is seven.", "completed")
            assert turn.reply.details["rtf"] == 0.5
            assert turn.reply.n_samples == len(speaker.waveform) == 3 * 4_800
            assert server.n_sound_bytes == 2 * len(CLIP)
            assert f"conversation={call.conversation}" in server.paths[0]
            assert "audio=binary" in server.paths[0]
        order = [event["type"] for event in server.received]
        assert order[:3] == ["session.update", "input_audio_buffer.commit", "response.create"]

    run(work)


def test_sound_is_what_the_server_sent() -> None:
    async def work() -> None:
        async with (
            fake_call_server(Script()) as server,
            open_call(server) as (call, speaker, _),
        ):
            await ask_clip(call)
            sent, heard = tone(14_400), speaker.waveform
            np.testing.assert_allclose(heard[200:-200], sent[200:-200], atol=1e-4)
            assert abs(heard[0]) < 0.01
            assert abs(heard[-1]) < 0.01

    run(work)


def test_paced_sound_takes_its_time_and_is_reported() -> None:
    async def work() -> None:
        async with (
            fake_call_server(Script()) as server,
            open_call(server, is_paced=True) as (call, speaker, _),
        ):
            turn = await ask_clip(call, is_paced=True)
            assert turn.heard_s is not None and 0 <= turn.heard_s < 1
            assert len(speaker.waveform) >= RATE  # half a second of question, 0.6 s of answer
            await until(lambda: len(server.named("antiphon.playback")) > 2)
            await until(lambda: not server.named("antiphon.playback")[-1]["is_playing"])
        reports = server.named("antiphon.playback")
        played = [report["played_ms"] for report in reports]
        assert played == sorted(played)
        assert reports[-1]["played_ms"] == 600
        assert reports[-1]["underruns"] == 0

    run(work)


def test_typed_question() -> None:
    async def work() -> None:
        settings = CallSettings(is_hands_free=False, with_sound=False, temperature=0.5, seed=3)
        async with (
            fake_call_server(Script()) as server,
            open_call(server, settings) as (call, _, _),
        ):
            await call.wait_connected()
            await call.say("what is it")
            reply = await call.wait_reply()
            assert (reply.question, reply.text) == ("what is it", "It is seven.")
            roles = [(line.role, line.text) for line in call.state.transcript.lines]
            assert roles == [("user", "what is it"), ("assistant", "It is seven.")]
        session = server.named("session.update")[0]["session"]
        assert session["output_modalities"] == ["text"]
        assert (session["temperature"], session["antiphon"]["seed"]) == (0.5, 3)

    run(work)


def test_stopped_reply_is_silent_and_cut_where_it_was_heard() -> None:
    async def work() -> None:
        script = Script(n_blocks=40, pause_s=0.05)
        async with (
            fake_call_server(script) as server,
            open_call(server, is_paced=True) as (call, speaker, _),
        ):
            await call.wait_connected()
            await call.say("count")
            await until(lambda: call.playback.status().played_ms > 300)
            await call.stop_reply()
            reply = await call.wait_reply()
            await call.wait_played()
            n_heard = int((speaker.waveform != 0).sum())
            await asyncio.sleep(0.15)
            assert int((speaker.waveform != 0).sum()) == n_heard
            assert reply.status == "cancelled"
            assert reply.heard_ms == pytest.approx(n_heard * 1_000 / RATE, abs=2)
            assert not call.is_busy
            cut = server.named("conversation.item.truncate")
            assert [event["audio_end_ms"] for event in cut] == [reply.heard_ms]
            assert len(server.named("response.cancel")) == 1
            assert call.state.transcript.lines[-1].heard_ms == reply.heard_ms

    run(work)


def test_speaking_interrupts_the_reply() -> None:
    async def work() -> None:
        script = Script(n_blocks=20, pause_s=0.05, vad_s=0.2, interrupt_after=8)
        async with (
            fake_call_server(script) as server,
            open_call(server, CallSettings(), is_paced=True) as (call, speaker, _),
        ):
            await call.wait_connected()
            for _ in range(15):
                await call.send_sound(CLIP[:320])
            reply = await call.wait_reply()
            await until(lambda: call.playback.is_idle)
            assert reply.status == "cancelled"
            await until(lambda: server.named("conversation.item.truncate"))
            cut = server.named("conversation.item.truncate")[0]
            n_heard = int((speaker.waveform != 0).sum())
            assert cut["item_id"] == "item_1"
            assert cut["audio_end_ms"] == pytest.approx(n_heard * 1_000 / RATE, abs=2)
            assert cut["audio_end_ms"] < 8 * 200
            assert not server.named("response.cancel")  # the server knows

    run(work)


def test_half_duplex_is_not_interrupted() -> None:
    async def work() -> None:
        script = Script(n_blocks=4, vad_s=0.2, interrupt_after=4)
        settings = CallSettings(is_half_duplex=True)
        async with fake_call_server(script) as server, open_call(server, settings) as (call, _, _):
            await call.wait_connected()
            for _ in range(15):
                await call.send_sound(CLIP[:320])
            await call.wait_reply()
            await call.wait_played()
            assert not server.named("conversation.item.truncate")
            assert call.playback.status().played_ms == 800

    run(work)


def test_hands_free_clip() -> None:
    async def work() -> None:
        script = Script(vad_s=0.6)  # longer than the clip: its silence is sent too
        async with (
            fake_call_server(script) as server,
            open_call(server, CallSettings()) as (call, _, _),
        ):
            turn = await ask_clip(call)
            assert turn.reply.text == "It is seven."
            assert not server.named("input_audio_buffer.commit")

    run(work)


def test_hands_free_clip_without_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.talk.clip_call.SILENCE_PATIENCE_S", 0.2)

    async def work() -> None:
        async with (
            fake_call_server(Script()) as server,
            open_call(server, CallSettings()) as (call, _, _),
        ):
            assert (await ask_clip(call)).reply.status == EMPTY

    run(work)


def test_lost_connection_is_opened_again_in_the_same_conversation() -> None:
    async def work() -> None:
        async with (
            fake_call_server(Script(lose_after=2)) as server,
            open_call(server) as (call, _, notes),
        ):
            first = await ask_clip(call)
            assert first.reply.status == LOST
            assert "ask again" in first.reply.error
            second = await ask_clip(call)
            assert second.reply.status == "completed"
            assert len(server.paths) == 2
            assert len(set(server.paths)) == 1
            assert "trying again" in notes.notices[0]
            assert "goes on" in notes.notices[1]

    run(work)


def test_restarted_server_is_found_again() -> None:
    async def work() -> None:
        async with fake_call_server(Script()) as server:
            port = int(server.url.rpartition(":")[2])
            call_task = open_call(server)
            call, _, notes = await call_task.__aenter__()
            await call.wait_connected()
        await until(lambda: notes.notices)
        async with fake_call_server(Script(), port) as again:
            turn = await ask_clip(call)
            assert turn.reply.status == "completed"
            assert f"conversation={call.conversation}" in again.paths[0]
            await call_task.__aexit__(None, None, None)

    run(work)


def test_gives_up_when_the_server_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_module, "RECONNECT_S", 0.3)

    async def work() -> None:
        async with fake_call_server(Script()) as server:
            call = Call(Address(server.url), BY_KEY, PlaybackBuffer())
            task = asyncio.ensure_future(call.run())
            await call.wait_connected()
        with pytest.raises(ServerConnectionError, match="nothing listens there"):
            await task

    run(work)


def test_history_is_shown() -> None:
    async def work() -> None:
        async with fake_call_server(Script()) as server:
            server.items = [
                {"id": "a", "role": "user", "text": "hello", "status": "completed"},
                {"id": "b", "role": "assistant", "text": "hi", "status": "cut", "heard_ms": 240},
                {"id": "c", "role": "tool"},
            ]
            async with open_call(server) as (call, _, _):
                await call.wait_connected()
                await until(lambda: call.state.transcript.lines)
                lines = call.state.transcript.lines
                assert [line.text for line in lines] == ["hello", "hi"]
                assert lines[1].heard_ms == 240

    run(work)


def test_busy_model_is_told_with_the_place_in_the_queue() -> None:
    async def work() -> None:
        async with (
            fake_call_server(Script(queue=True)) as server,
            open_call(server) as (call, _, notes),
        ):
            assert (await ask_clip(call)).reply.text
            assert notes.notices == ["the model is busy, place 2 in the queue; about 2 s"]
            assert call.state.queue_position is None

    run(work)


def test_unheard_question() -> None:
    async def work() -> None:
        async with (
            fake_call_server(Script(drop_commits=True)) as server,
            open_call(server) as (call, _, _),
        ):
            assert (await ask_clip(call)).reply.status == EMPTY
            assert not call.is_busy

    run(work)


def test_refused_settings_end_the_call() -> None:
    async def work() -> None:
        async with fake_call_server(Script(refuse_settings=True)) as server:
            call = Call(Address(server.url), BY_KEY, PlaybackBuffer())
            with pytest.raises(ConfigError, match="no voice x"):
                await call.run()

    run(work)
