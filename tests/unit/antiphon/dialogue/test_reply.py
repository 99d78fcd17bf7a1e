"""A reply on stand-ins: every ending, and that nothing leaks."""

import asyncio
import threading
from contextlib import aclosing

import numpy as np
import pytest

from antiphon.dialogue.events import AudioChunk, TurnDone, TurnFailed
from antiphon.dialogue.turn_pipeline import TurnOptions
from antiphon.errors import AudioError, ServerConnectionError
from tests.dialogue_fakes import (
    LAYOUT,
    FakeDecoder,
    audio_ids,
)
from tests.turn_bench import QUESTION, REPLY, SPOKEN, expected_sound, run, sound_of, text_of


def test_tokens_keep_arriving_while_a_block_is_decoded(make_bench):
    bench = make_bench([*REPLY, LAYOUT.user], decoder=FakeDecoder(push_s=0.05), delay_s=0.001)
    run(bench.ask())
    sizes = [len(codes) for codes in bench.decoder.pushed]
    assert [code for codes in bench.decoder.pushed for code in codes] == SPOKEN
    assert max(sizes) > 5
    assert len(sizes) < 20


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


def test_ids_that_are_neither_text_nor_sound_are_left_out(make_bench):
    bench = make_bench([*b"a", LAYOUT.system, *audio_ids(1), 10**9, 299, *b"b", LAYOUT.user])
    done = run(bench.ask())[-1]
    assert done.text == "ab"
    assert bench.session.turns[0].reply_ids == (97, 301, 98)


def test_a_reply_that_ends_inside_a_character(make_bench):
    events = run(make_bench(["你".encode()[0], LAYOUT.user]).ask())
    assert text_of(events) == events[-1].text == "\N{REPLACEMENT CHARACTER}"


def test_a_reply_that_only_repeats_itself_is_ended(make_bench, caplog):
    spoken = [*range(26), *[7, 8, 9] * 200]
    bench = make_bench([*b"Well, ", *audio_ids(*spoken), LAYOUT.user])
    events = run(bench.ask(options=TurnOptions(collapse_s=4.0)))
    done = events[-1]
    assert (done.stop_reason, done.text) == ("collapsed", "Well, ")
    assert done.n_audio_tokens == 70  # of the last 50 (4 s), 44 are three tokens in turn: 1.93 bits
    np.testing.assert_allclose(sound_of(events), expected_sound(spoken[: done.n_audio_tokens]))
    assert len(bench.session.turns[0].reply_ids) == 6 + done.n_audio_tokens
    assert "it repeats them" in caplog.text
    bench.assert_all_free()


@pytest.mark.parametrize(
    ("spoken", "collapse_s"),
    [
        ([7] * 600, None),
        ([*range(26), *[5] * 125, *range(26)], TurnOptions().collapse_s),  # silent for 10 s
    ],
)
def test_a_reply_goes_on_without_a_guard_or_after_silence(make_bench, spoken, collapse_s):
    bench = make_bench([*audio_ids(*spoken), LAYOUT.user])
    done = run(bench.ask(options=TurnOptions(collapse_s=collapse_s)))[-1]
    assert (done.stop_reason, done.n_audio_tokens) == ("stop", len(spoken))


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
