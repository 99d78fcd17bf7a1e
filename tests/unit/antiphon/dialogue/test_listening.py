"""A user who still speaks: the same answer, timings from the end, stops, silence, bad sound."""

import asyncio
import time

import numpy as np
import pytest

from antiphon.dialogue import listening
from antiphon.dialogue.events import TurnDone, TurnFailed, UserTokens
from antiphon.dialogue.session import Turn, UserTurn
from antiphon.dialogue.speech_input import SpeechInput
from antiphon.dialogue.turn_pipeline import TurnPipeline
from tests.dialogue_fakes import LAYOUT, ByteTokenizer, FakeDecoder, FakeSpeechTokenizer, tone
from tests.turn_bench import REPLY, TEXT, run, text_of

RATE = 16_000


async def spoken(waveform, n_piece=1600, pause_s=0.0):
    for start in range(0, len(waveform), n_piece):
        await asyncio.sleep(pause_s)
        yield waveform[start : start + n_piece]


async def endless(was_heard):
    yield tone(1.0)
    was_heard.set()
    await asyncio.sleep(3600)


def assert_all_free(bench):
    bench.assert_all_free()
    assert bench.listener.n_open == 0


def test_speech_in_pieces_is_answered_like_a_clip(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user])
    waveform = tone(1.5)
    events = run(bench.ask(UserTurn(speech=spoken(waveform), sample_rate=RATE)))
    assert events[0] == UserTokens(tuple(range(19)))
    assert text_of(events) == TEXT
    assert isinstance(events[-1], TurnDone)
    bench.session.clear()
    run(bench.ask(UserTurn(waveform=waveform, sample_rate=RATE)))
    assert bench.engine.prompts[0] == bench.engine.prompts[1]
    assert {name.rsplit("_", 1)[0] for name in bench.listener.threads} == {"antiphon-listen"}
    assert_all_free(bench)


def test_timings_count_from_the_end_of_speech(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user])
    speech = spoken(tone(1.0), n_piece=RATE // 4, pause_s=0.1)
    started = time.perf_counter()
    timings = run(bench.ask(UserTurn(speech=speech, sample_rate=RATE)))[-1].timings
    assert 0 < timings.tokenise_s < timings.total_s < time.perf_counter() - started - 0.4


def test_the_prompt_is_told_while_the_user_speaks(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user])
    told = []
    bench.session.append(Turn("text", tuple(b"\nearlier"), (65,)))
    pipeline = TurnPipeline(
        bench.engine,
        ByteTokenizer(),
        FakeSpeechTokenizer(),
        FakeDecoder(),
        warm_up=lambda token_ids, session_id: told.append((tuple(token_ids), session_id)),
    )
    user_turn = UserTurn(speech=spoken(tone(2.0)), sample_rate=RATE)

    async def scenario():
        return [event async for event in pipeline.respond(bench.session, user_turn)]

    run(scenario())
    pipeline.close()
    prompt = tuple(bench.engine.prompts[0])
    assert [token_ids[-1] - LAYOUT.audio_0 for token_ids, _ in told] == [9, 19]
    for token_ids, session_id in told:
        assert prompt[: len(token_ids)] == token_ids
        assert session_id == bench.session.id


def test_stopping_while_the_user_speaks(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user])

    async def scenario():
        was_heard = asyncio.Event()
        user_turn = UserTurn(speech=endless(was_heard), sample_rate=RATE)
        asking = asyncio.create_task(bench.ask(user_turn))
        await was_heard.wait()
        bench.session.cancel()
        return await asking

    (done,) = run(scenario())
    assert (done.stop_reason, done.text, done.reply_ids) == ("cancelled", "", ())
    assert bench.engine.prompts == []
    assert bench.session.turns == ()
    assert_all_free(bench)


def test_a_caller_that_goes_away_while_the_user_speaks(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user])

    async def scenario():
        was_heard = asyncio.Event()
        user_turn = UserTurn(speech=endless(was_heard), sample_rate=RATE)
        asking = asyncio.create_task(bench.ask(user_turn))
        await was_heard.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    run(scenario())
    assert_all_free(bench)


def test_sound_that_stops_coming_fails_in_words(make_bench, monkeypatch):
    monkeypatch.setattr(listening, "IDLE_TIMEOUT_S", 0.05)
    bench = make_bench([*REPLY, LAYOUT.user])
    source = SpeechInput()
    source.push(tone(0.1))
    events = run(bench.ask(UserTurn(speech=source, sample_rate=RATE)))
    assert "no sound came" in events[-1].message
    assert_all_free(bench)


@pytest.mark.parametrize(
    ("pieces", "words"),
    [([], "empty"), ([tone(0.1), np.full(5, np.nan, np.float32), tone(0.1)], "not numbers")],
)
def test_bad_sound_fails_in_words_and_closes_its_source(make_bench, pieces, words):
    bench = make_bench([*REPLY, LAYOUT.user])
    has_ended = []

    async def source():
        try:
            for samples in pieces:
                yield samples
        finally:
            has_ended.append(True)

    events = run(bench.ask(UserTurn(speech=source(), sample_rate=RATE)))
    assert isinstance(events[-1], TurnFailed)
    assert words in events[-1].message
    assert has_ended == [True]
    assert bench.engine.prompts == []
    assert_all_free(bench)
