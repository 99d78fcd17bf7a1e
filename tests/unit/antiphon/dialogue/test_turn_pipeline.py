"""The turn pipeline on stand-ins: order of events, every ending, and that nothing leaks."""

import asyncio
import threading
from contextlib import aclosing
from dataclasses import dataclass, field

import numpy as np
import pytest

from antiphon.dialogue.events import AudioChunk, TextDelta, TurnDone, TurnFailed, UserTokens
from antiphon.dialogue.prompt import render_prompt, text_turn
from antiphon.dialogue.session import Session, UserTurn
from antiphon.dialogue.turn_pipeline import TurnOptions, TurnPipeline
from antiphon.errors import AudioError, CheckpointError, ConfigError, ServerConnectionError
from tests.dialogue_fakes import (
    LAYOUT,
    SAMPLES_PER_TOKEN,
    ByteTokenizer,
    FakeDecoder,
    FakeEngine,
    FakeSpeechTokenizer,
    audio_ids,
    tone,
)

TEXT = "It is twenty nine today."
REPLY = [*TEXT[:13].encode(), *audio_ids(*range(26)), *TEXT[13:].encode(), *audio_ids(*range(30))]
SPOKEN = [*range(26), *range(30)]
QUESTION = UserTurn(text="What is it?")


@dataclass
class Bench:
    """A pipeline and its stand-ins."""

    engine: FakeEngine
    decoder: FakeDecoder = field(default_factory=FakeDecoder)
    listener: FakeSpeechTokenizer = field(default_factory=FakeSpeechTokenizer)
    session: Session = field(default_factory=Session)

    def __post_init__(self):
        self.pipeline = TurnPipeline(self.engine, ByteTokenizer(), self.listener, self.decoder)

    async def ask(self, user_turn=QUESTION, options=None):
        return [event async for event in self.pipeline.respond(self.session, user_turn, options)]

    def assert_all_free(self):
        assert self.engine.n_open == 0
        assert self.decoder.n_open == 0
        assert not self.session.is_answering


@pytest.fixture
def make_bench():
    """Build benches whose threads end with the test."""
    benches = []

    def make(script=(), decoder=None, listener=None, **engine_arguments):
        engine = FakeEngine(script, **engine_arguments)
        bench = Bench(engine, decoder or FakeDecoder(), listener or FakeSpeechTokenizer())
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        bench.pipeline.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("antiphon-")]


def run(coroutine):
    """Run with a limit, so that a hang is a failure; no task may be left behind."""

    async def limited():
        result = await asyncio.wait_for(coroutine, timeout=10)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    return asyncio.run(limited())


def sound_of(events):
    return np.concatenate(
        [np.zeros(0, np.float32), *(e.waveform for e in events if isinstance(e, AudioChunk))]
    )


def text_of(events):
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def expected_sound(codes):
    return np.repeat(np.array(codes, np.float32) / 100, SAMPLES_PER_TOKEN)


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


def test_tokens_keep_arriving_while_a_block_is_decoded(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user], decoder=FakeDecoder(push_s=0.05), delay_s=0.001)
    run(bench.ask())
    sizes = [len(codes) for codes in bench.decoder.pushed]
    assert [code for codes in bench.decoder.pushed for code in codes] == SPOKEN
    assert max(sizes) > 5
    assert len(sizes) < 20


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


def test_the_token_limit_still_speaks_everything(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user])
    events = run(bench.ask(options=TurnOptions(max_new_tokens=20)))
    assert events[-1].stop_reason == "length"
    np.testing.assert_allclose(sound_of(events), expected_sound(range(7)))
    bench.assert_all_free()


def test_an_engine_that_talks_on_after_the_end_is_stopped(make_bench):
    bench = make_bench([*b"yes", LAYOUT.user, *b"User: and so on" * 20], finish=None)

    async def scenario():
        events = []
        async for event in bench.pipeline.respond(bench.session, QUESTION):
            events.append(event)
            if isinstance(event, TurnDone):
                bench.assert_all_free()
        return events

    done = run(scenario())[-1]
    assert (done.text, done.stop_reason) == ("yes", "stop")
    assert bench.engine.n_sent == 4


def test_an_engine_that_just_ends_counts_as_the_limit(make_bench):
    assert run(make_bench(REPLY, finish=None).ask())[-1].stop_reason == "length"


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


def test_ids_that_are_neither_text_nor_sound_are_left_out(make_bench):
    bench = make_bench([*b"a", LAYOUT.system, *audio_ids(1), 10**9, 299, *b"b", LAYOUT.user])
    done = run(bench.ask())[-1]
    assert done.text == "ab"
    assert bench.session.turns[0].reply_ids == (97, 301, 98)


def test_a_reply_that_ends_inside_a_character(make_bench):
    events = run(make_bench(["你".encode()[0], LAYOUT.user]).ask())
    assert text_of(events) == events[-1].text == "\N{REPLACEMENT CHARACTER}"


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
    assert bench.decoder.voices == ["amber"]


def test_a_huge_limit_is_cut_to_the_context(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user])
    assert isinstance(run(bench.ask(options=TurnOptions(max_new_tokens=10**9)))[-1], TurnDone)
    room = LAYOUT.context_length - len(bench.engine.prompts[0])
    assert bench.engine.samplings[0].max_new_tokens == room


def test_forgotten_turns_are_counted(make_bench):
    bench = make_bench([*b"yes", LAYOUT.user])
    counts = [run(bench.ask(UserTurn(text="a" * 250)))[-1].n_dropped_turns for _ in range(4)]
    assert counts == [0, 0, 1, 2]


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_new_tokens": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
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


def test_a_server_that_dies_in_the_middle(make_bench):
    bench = make_bench(REPLY, error_at=30, error=ServerConnectionError("the server went away"))
    events = run(bench.ask())
    assert isinstance(events[-1], TurnFailed)
    assert events[-1].message == "the server went away"
    np.testing.assert_allclose(sound_of(events), expected_sound(range(17)))
    assert bench.session.turns == ()
    bench.assert_all_free()


def test_a_decoder_that_fails_ends_the_generation(make_bench):
    decoder = FakeDecoder(error=AudioError("the decoder broke"))
    bench = make_bench([*REPLY, *b"more" * 1000], decoder=decoder, delay_s=0.001)
    events = run(bench.ask())
    assert events[-1].message == "the decoder broke"
    assert bench.engine.n_sent < 100
    bench.assert_all_free()


def test_an_unknown_voice_fails_in_words(make_bench):
    bench = make_bench(REPLY, decoder=FakeDecoder(open_error=CheckpointError("no voice 'x'")))
    assert run(bench.ask())[-1].message == "no voice 'x'"
    bench.assert_all_free()


def test_a_bug_is_raised_not_dressed_up(make_bench):
    bench = make_bench(REPLY, error_at=3, error=ZeroDivisionError("bug"))
    with pytest.raises(ZeroDivisionError):
        run(bench.ask())
    bench.assert_all_free()


def test_stop_keeps_and_speaks_what_was_said(make_bench):
    bench = make_bench(REPLY, hang_at=23)

    async def scenario():
        events = []
        async with aclosing(bench.pipeline.respond(bench.session, QUESTION)) as stream:
            async for event in stream:
                events.append(event)
                if isinstance(event, AudioChunk) and bench.engine.n_sent == 23:
                    threading.Thread(target=bench.session.cancel).start()
        return events

    events = run(scenario())
    assert events[-1].stop_reason == "cancelled"
    np.testing.assert_allclose(sound_of(events), expected_sound(range(10)))
    assert bench.session.turns[0].reply_ids == tuple(REPLY[:23])
    bench.assert_all_free()


def test_stop_before_the_first_token(make_bench):
    bench = make_bench(REPLY, hang_at=0)

    async def scenario():
        asyncio.get_running_loop().call_later(0.1, bench.session.cancel)
        return await bench.ask()

    assert run(scenario())[-1].stop_reason == "cancelled"
    assert bench.session.turns == ()
    bench.assert_all_free()


@pytest.mark.parametrize("n_events", range(1, 20, 3))
def test_closing_early_frees_everything(make_bench, n_events):
    bench = make_bench(REPLY, decoder=FakeDecoder(push_s=0.01), delay_s=0.001, hang_at=60)

    async def scenario():
        stream = bench.pipeline.respond(bench.session, QUESTION)
        for _ in range(n_events):
            await anext(stream)
        await stream.aclose()
        bench.assert_all_free()

    run(scenario())
    kept = bench.session.turns[0].reply_ids
    assert 0 < len(kept) <= 60
    assert kept == tuple(REPLY[: len(kept)])


def test_a_cancelled_caller_frees_everything(make_bench):
    bench = make_bench(REPLY, hang_at=30)

    async def scenario():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.ask(), timeout=0.3)
        await asyncio.sleep(0.05)
        bench.assert_all_free()

    run(scenario())


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
