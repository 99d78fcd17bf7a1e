"""The turn pipeline on stand-ins: events, history, options and bad input."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest

from antiphon.dialogue.events import AudioChunk, TurnDone, TurnFailed, UserTokens
from antiphon.dialogue.prompt import render_prompt, text_turn
from antiphon.dialogue.session import Session, UserTurn
from antiphon.dialogue.turn_pipeline import TurnOptions
from antiphon.engine.base import Interleave
from antiphon.errors import CheckpointError, ConfigError
from tests.dialogue_fakes import (
    LAYOUT,
    ByteTokenizer,
    FakeDecoder,
    FakeEngine,
    FakeSpeechTokenizer,
    audio_ids,
    tone,
)
from tests.turn_bench import (
    QUESTION,
    REPLY,
    SPOKEN,
    TEXT,
    Bench,
    expected_sound,
    run,
    sound_of,
    text_of,
)


def test_a_typed_question_is_answered_in_text_and_sound(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user])
    events = run(bench.ask())
    done = events[-1]
    assert text_of(events) == TEXT
    np.testing.assert_allclose(sound_of(events), expected_sound(SPOKEN))
    assert isinstance(done, TurnDone)
    assert (done.text, done.stop_reason) == (TEXT, "stop")
    assert (done.n_text_tokens, done.n_audio_tokens) == (len(TEXT), 56)
    assert done.audio_s == pytest.approx(56 / 12.5)
    assert done.reply_ids == tuple(REPLY)
    assert sum(isinstance(event, TurnDone) for event in events) == 1
    bench.assert_all_free()


def test_a_spoken_question_shows_its_tokens_first(make_bench):
    bench = make_bench([*b"Hi", LAYOUT.user], listener=FakeSpeechTokenizer([3, 1, 4]))
    events = run(bench.ask(UserTurn(waveform=tone(), sample_rate=16_000)))
    assert events[0] == UserTokens((3, 1, 4))
    sound = [LAYOUT.begin_of_audio, *audio_ids(3, 1, 4), LAYOUT.end_of_audio, LAYOUT.assistant]
    prompt = bench.engine.prompts[0]
    start = prompt.index(LAYOUT.begin_of_audio)
    assert prompt[start : start + len(sound)] == sound


def test_sound_carries_its_speech_tokens_in_order(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user])
    chunks = [event for event in run(bench.ask()) if isinstance(event, AudioChunk)]
    assert [code for chunk in chunks for code in chunk.speech_tokens] == SPOKEN
    assert {chunk.sample_rate for chunk in chunks} == {22_050}
    assert {chunk.waveform.dtype for chunk in chunks} == {np.dtype(np.float32)}


def test_work_is_off_the_event_loop_and_in_one_thread_each(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user])
    run(bench.ask(UserTurn(waveform=tone(), sample_rate=16_000)))
    assert {name.rsplit("_", 1)[0] for name in bench.listener.threads} == {"antiphon-listen"}
    assert len(bench.decoder.threads) == 1
    assert bench.decoder.threads.pop().startswith("antiphon-decode")


def test_timings_are_in_order(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user], decoder=FakeDecoder(push_s=0.01), delay_s=0.001)
    done = run(bench.ask(UserTurn(waveform=tone(), sample_rate=16_000)))[-1]
    timings = done.timings
    assert 0 < timings.tokenise_s < timings.first_text_s < timings.first_audio_s < timings.total_s
    assert 0 < timings.prefill_s < timings.first_text_s
    assert done.rtf == pytest.approx(timings.total_s / done.audio_s)


def test_the_history_is_token_ids_and_goes_into_the_next_prompt(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user])
    run(bench.ask())
    assert bench.session.turns[0].reply_ids == tuple(REPLY)
    run(bench.ask(UserTurn(text="And then?")))
    second = text_turn("And then?", LAYOUT, ByteTokenizer())
    history = (bench.session.turns[0], second)
    assert bench.engine.prompts[1] == render_prompt(history, LAYOUT, ByteTokenizer())
    assert bench.engine.session_ids == [bench.session.id] * 2


def test_the_turn_is_kept_and_the_session_free_when_done_is_told(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user])

    async def scenario():
        async with aclosing(bench.pipeline.respond(bench.session, QUESTION)) as events:
            async for event in events:
                if isinstance(event, TurnDone):
                    assert len(bench.session.turns) == 1
                    assert isinstance((await bench.ask())[-1], TurnDone)
        assert len(bench.session.turns) == 2

    run(scenario())


def test_a_reply_without_sound(make_bench):
    bench = make_bench([*b"Only words.", LAYOUT.user])
    done = run(bench.ask())[-1]
    assert isinstance(done, TurnDone)
    assert (done.audio_s, done.rtf, done.timings.first_audio_s) == (0.0, None, None)
    assert bench.decoder.pushed == []
    bench.assert_all_free()


def test_an_empty_reply(make_bench):
    done = run(make_bench([LAYOUT.user]).ask())[-1]
    assert isinstance(done, TurnDone)
    assert (done.text, done.audio_s, done.timings.first_text_s) == ("", 0.0, None)


def test_without_speaking_no_decoder_is_opened(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user])
    done = run(bench.ask(options=TurnOptions(speak=False)))[-1]
    assert (done.audio_s, done.n_audio_tokens, bench.decoder.n_opened) == (0.0, 56, 0)


def test_options_reach_engine_and_decoder(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user])
    run(bench.ask(options=TurnOptions(0.7, 0.9, 100, seed=5, voice="amber")))
    sampling = bench.engine.samplings[0]
    assert (sampling.temperature, sampling.top_p, sampling.seed) == (0.7, 0.9, 5)
    assert (sampling.max_new_tokens, sampling.stop_token_ids) == (100, LAYOUT.stop)
    assert sampling.interleave is None
    assert bench.decoder.voices == ["amber"]


def test_the_reply_keeps_to_the_blocks_that_the_model_states():
    bench = Bench(FakeEngine([*REPLY, LAYOUT.user]), layout=replace(LAYOUT, interleave=(13, 26)))
    run(bench.ask())
    expected = Interleave(13, 26, LAYOUT.audio_0, LAYOUT.n_audio)
    assert bench.engine.samplings[0].interleave == expected
    bench.pipeline.close()


def test_a_huge_limit_is_cut_to_the_context(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user])
    assert isinstance(run(bench.ask(options=TurnOptions(max_new_tokens=10**9)))[-1], TurnDone)
    room = LAYOUT.context_length - len(bench.engine.prompts[0])
    assert bench.engine.samplings[0].max_new_tokens == room


def test_forgotten_turns_are_counted(make_bench):
    bench = make_bench([*b"yes", LAYOUT.user])
    counts = [run(bench.ask(UserTurn(text="a" * 250)))[-1].n_dropped_turns for _ in range(4)]
    assert counts == [0, 0, 1, 2]


@pytest.mark.parametrize("options", [TurnOptions(max_turns=2), None])
def test_the_prompt_holds_the_turns_that_the_model_reads(make_bench, options):
    bench = make_bench([*b"yes", LAYOUT.user])
    for _ in range(4):
        run(bench.ask(options=options))
    n_questions = [prompt.count(LAYOUT.user) for prompt in bench.engine.prompts]
    assert n_questions == ([1, 2, 2, 2] if options else [1, 2, 3, 4])


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_new_tokens": 0},
        {"max_turns": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"collapse_s": 1.9},
        {"collapse_s": float("nan")},
    ],
)
def test_impossible_options_are_refused(arguments):
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        TurnOptions(**arguments)


@pytest.mark.parametrize(
    ("user_turn", "words"),
    [
        (UserTurn(text=" "), "empty"),
        (UserTurn(text="a" * 2000), "takes 1024"),
        (UserTurn(waveform=tone(0.0), sample_rate=16_000), "clip is empty"),
    ],
)
def test_bad_input_fails_in_words(make_bench, user_turn, words):
    bench = make_bench([*REPLY, LAYOUT.user])
    events = run(bench.ask(user_turn))
    assert isinstance(events[-1], TurnFailed)
    assert words in events[-1].message
    assert bench.engine.prompts == []
    assert bench.session.turns == ()
    bench.assert_all_free()


def test_an_unknown_voice_fails_in_words(make_bench):
    bench = make_bench(REPLY, decoder=FakeDecoder(open_error=CheckpointError("no voice 'x'")))
    assert run(bench.ask())[-1].message == "no voice 'x'"
    bench.assert_all_free()


def test_a_second_question_waits_for_the_first(make_bench):
    bench = make_bench(REPLY, hang_at=5)

    async def scenario():
        stream = bench.pipeline.respond(bench.session, QUESTION)
        await anext(stream)
        second = await bench.ask()
        assert len(second) == 1
        assert "still answering" in second[0].message
        assert bench.session.is_answering
        await stream.aclose()
        bench.assert_all_free()

    run(scenario())


def test_sessions_do_not_mix(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user], delay_s=0.001)

    async def ask(session):
        return [event async for event in bench.pipeline.respond(session, QUESTION)]

    async def scenario():
        return await asyncio.gather(*(ask(Session()) for _ in range(5)))

    for events in run(scenario()):
        assert text_of(events) == TEXT
        np.testing.assert_allclose(sound_of(events), expected_sound(SPOKEN))
    bench.assert_all_free()
