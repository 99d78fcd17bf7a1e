"""Replies in one batch: each as if it were alone, whatever the others are and do."""

import asyncio
import operator
import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engine import local_engine, model_runner, running_batch, token_stream
from antiphon.engine.base import Interleave, SamplingParams
from antiphon.engine.local_engine import LocalEngine
from antiphon.engine.model_runner import Row
from antiphon.errors import EngineError
from tests.engine_bench import (
    ENDLESS,
    count_slots_in_use,
    greedy_by_hand,
    random_prompt,
    run_with_engine,
    runner_of,
    slow_model,
)
from tests.tiny_glm import CONTEXT_LENGTH, GREEDY, VOCAB_SIZE, collect, make_tiny_glm, wait_until

Ids = tuple[list[int], str | None]


def random_sampling(rng: random.Random) -> SamplingParams:
    return SamplingParams(
        temperature=rng.choice([0.0, 0.0, 0.7, 1.5]),
        top_p=rng.choice([1.0, 0.8]),
        top_k=rng.choice([0, 0, 20]),
        seed=rng.randrange(100),
        max_new_tokens=rng.randrange(1, 60),
    )


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_a_seed_gives_the_same_ids_alone_and_beside_random_others(seed: int) -> None:
    rng = random.Random(seed)
    requests = [
        (random_prompt(rng.randrange(1000), rng.randrange(1, 190)), random_sampling(rng))
        for _ in range(12)
    ]

    async def later(engine: LocalEngine, number: int, *, is_cut: bool) -> Ids | None:
        """Ask after a random while; some hang up in the middle."""
        await asyncio.sleep(rng.random() * 0.05)
        stream = engine.generate(*requests[number], session_id=rng.choice([None, "a", "b", "c"]))
        if is_cut:
            await anext(stream)
            await stream.aclose()
            return None
        return await collect(stream)

    async def test(engine: LocalEngine) -> None:
        alone = [await collect(engine.generate(*request)) for request in requests]
        together = await asyncio.gather(
            *(later(engine, number, is_cut=number % 4 == 3) for number in range(12))
        )
        for expected, got in zip(alone, together, strict=True):
            assert got in (expected, None)

    run_with_engine(test, max_concurrent=6, max_queue=20)


def test_a_conversation_that_was_forgotten_is_computed_again_to_the_same_ids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local_engine, "IDLE_SLOTS", 1)
    sampling = SamplingParams(temperature=1.0, top_p=0.9, seed=5, max_new_tokens=15)

    async def talk(engine: LocalEngine, n_others: int) -> list[list[int]]:
        """Have four turns, and others between them that need the slots."""
        history, replies = random_prompt(3, 40), []
        for turn in range(4):
            reply, _ = await collect(engine.generate(history, sampling, session_id="s"))
            for number in range(n_others):
                await collect(engine.generate([number], GREEDY, session_id=f"other {number}"))
            replies.append(reply)
            history = [*history, *reply, *random_prompt(10 + turn, 8)]
        return replies

    async def test(engine: LocalEngine) -> None:
        with slow_model(engine, 0.0) as kept_calls:
            kept = await talk(engine, n_others=0)
        with slow_model(engine, 0.0) as dropped_calls:
            dropped = await talk(engine, n_others=3)
        assert kept == dropped
        assert max(kept_calls[1:]) == 9, "only what is new was computed"
        assert max(dropped_calls[20:]) > 60, "nothing was dropped: the test shows nothing"

    run_with_engine(test, max_concurrent=1)


def test_a_prompt_that_branches_off_rewinds_to_what_is_common() -> None:
    async def test(engine: LocalEngine) -> None:
        history = random_prompt(4, 50)
        reply, _ = await collect(engine.generate(history, GREEDY, session_id="s"))
        heard = [*history, *reply[:7], 1, 2, 3]  # the person cut in after 7 tokens
        with slow_model(engine, 0.0) as calls:
            after, _ = await collect(engine.generate(heard, GREEDY, session_id="s"))
        assert calls[0] == 3
        assert after == greedy_by_hand(heard, 20)

    run_with_engine(test)


def test_more_replies_than_fit_a_step_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_runner, "CPU_DECODE_ROWS", 2)
    prompts = [random_prompt(seed) for seed in range(5)]

    async def test(engine: LocalEngine) -> None:
        runner = runner_of(engine)
        run, sizes = runner.run, []

        def count_rows(rows: Sequence[Row]) -> torch.Tensor:
            sizes.append(sum(len(row.token_ids) == 1 for row in rows))
            return run(rows)

        runner.run = count_rows  # type: ignore[method-assign]
        replies = await asyncio.gather(*(collect(engine.generate(p, GREEDY)) for p in prompts))
        assert replies == [(greedy_by_hand(prompt, 20), "length") for prompt in prompts]
        assert max(sizes) == 2

    run_with_engine(test, max_concurrent=5)


def test_what_fails_together_is_tried_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    async def test(engine: LocalEngine) -> None:
        runner = runner_of(engine)
        run = runner.run

        def fail_with_slot_of_nine(rows: Sequence[Row]) -> torch.Tensor:
            if any(9 in row.token_ids for row in rows):
                raise RuntimeError("a nine")
            return run(rows)

        runner.run = fail_with_slot_of_nine  # type: ignore[method-assign]
        outcomes = await asyncio.gather(
            collect(engine.generate([1], GREEDY)),
            collect(engine.generate([9], GREEDY)),
            collect(engine.generate([2], GREEDY)),
            return_exceptions=True,
        )
        for prompt, outcome in zip(([1], [2]), (outcomes[0], outcomes[2]), strict=True):
            expected = greedy_by_hand(prompt, 20)
            assert 9 not in expected
            assert outcome == (expected, "length")
        assert isinstance(outcomes[1], EngineError)
        assert count_slots_in_use(engine) == 0

    run_with_engine(test)
    assert "a nine" in caplog.text


def test_numbers_that_are_not_finite_stay_in_their_own_request() -> None:
    model = make_tiny_glm()
    with torch.no_grad():
        model.model.embed_tokens.weight[7] = float("nan")

    async def body() -> None:
        engine = LocalEngine(model, vocab_size=VOCAB_SIZE, context_length=64, max_concurrent=2)
        bad = [asyncio.create_task(collect(engine.generate([1, 7, 2], GREEDY))) for _ in range(12)]
        good = await collect(engine.generate([3, 4], GREEDY))
        for outcome in await asyncio.gather(*bad, return_exceptions=True):
            assert isinstance(outcome, EngineError)
            assert "no finite score" in str(outcome)
        assert good[0] == greedy_by_hand([3, 4], 20)
        again = await asyncio.gather(*(collect(engine.generate([3, 4], GREEDY)) for _ in range(12)))
        assert again == [good] * 12, "in whatever slot"
        await engine.close()

    asyncio.run(asyncio.wait_for(body(), 60))


def test_a_slow_reader_is_paused_and_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_stream, "BUFFER_SIZE", 5)

    async def test(engine: LocalEngine) -> None:
        slow = engine.generate([1, 2], GREEDY)
        await asyncio.to_thread(wait_until, lambda: engine.stats().generated_tokens == 5)
        other = await collect(engine.generate([3], GREEDY))
        assert other == (greedy_by_hand([3], 20), "length")
        assert engine.stats().generated_tokens == 25, "the slow one took part in no step"
        assert await collect(slow) == (greedy_by_hand([1, 2], 20), "length")

    run_with_engine(test)


def test_a_reply_that_nobody_reads_ends_and_frees_its_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(token_stream, "BUFFER_SIZE", 5)
    monkeypatch.setattr(running_batch, "READER_TIMEOUT_S", 0.2)

    async def test(engine: LocalEngine) -> None:
        unread = engine.generate([1, 2], GREEDY)
        ended = replace(engine.stats(), running=0, waiting=0, generated_tokens=5)
        await asyncio.to_thread(wait_until, lambda: engine.stats() == ended)
        assert count_slots_in_use(engine) == 0
        with pytest.raises(EngineError, match=r"not read for 0\.2 s"):
            await collect(unread)

    run_with_engine(test)


def test_a_paused_reply_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_stream, "BUFFER_SIZE", 5)

    async def test(engine: LocalEngine) -> None:
        paused = engine.generate([1, 2], ENDLESS, request_id="p")
        waiting = engine.generate([3], ENDLESS, request_id="w")
        await asyncio.to_thread(wait_until, lambda: engine.stats().generated_tokens == 5)
        assert (engine.stats().running, engine.stats().waiting) == (1, 1)
        await engine.cancel("w")
        assert await collect(waiting) == ([], "cancelled")
        await engine.cancel("p")
        ids, reason = await collect(paused)
        assert (len(ids), reason) == (5, "cancelled")

    run_with_engine(test, max_concurrent=1)


def test_only_allowed_ids_are_chosen() -> None:
    allowed = (3, 50, 299)
    sampling = replace(GREEDY, temperature=1.0, seed=1, allowed_token_ids=allowed)

    async def test(engine: LocalEngine) -> None:
        free, bound = await asyncio.gather(
            collect(engine.generate([1], GREEDY)), collect(engine.generate([1], sampling))
        )
        assert set(bound[0]) == set(allowed)
        assert free[0] == greedy_by_hand([1], 20)

    run_with_engine(test)


def test_blocks_of_text_and_sound_are_kept() -> None:
    blocks = Interleave(n_text=3, n_audio=4, audio_0=100, n_codes=50)
    sampling = replace(GREEDY, temperature=1.5, top_p=1.0, seed=1, max_new_tokens=60)

    async def test(engine: LocalEngine) -> None:
        free, kept = await asyncio.gather(
            collect(engine.generate([1], sampling)),
            collect(engine.generate([1], replace(sampling, interleave=blocks))),
        )
        sounds = [[token_id in blocks.codes for token_id in reply[0]] for reply in (free, kept)]
        in_sound = [place % 7 >= 3 for place in range(60)]
        keeps = [all(map(operator.ge, each, in_sound)) for each in sounds]
        assert keeps == [False, True]
        assert [len(each) for each in sounds] == [60, 60]
        assert not all(sounds[1])  # text comes too

    run_with_engine(test)


def test_less_memory_means_fewer_replies_at_a_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slot_bytes = model_runner.cache_shape(make_tiny_glm(), CONTEXT_LENGTH).slot_bytes
    monkeypatch.setattr(local_engine, "cache_memory", lambda _: 2 * slot_bytes)

    async def test(engine: LocalEngine) -> None:
        with ExitStack() as stack:
            stack.enter_context(slow_model(engine, 0.01))
            streams = [engine.generate([number], ENDLESS) for number in range(4)]
            await asyncio.to_thread(wait_until, lambda: engine.stats().running == 2)
            await anext(streams[1])
            assert (engine.stats().running, engine.stats().waiting) == (2, 2)
            for stream in streams:
                await stream.aclose()

    run_with_engine(test, max_concurrent=4)
    assert "suffices for 2 replies" in caplog.text
