"""The engine on a tiny random model: same ids as the model alone, whatever else runs or fails."""

import asyncio
import gc
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
import torch

from antiphon.engine.base import EngineStats, SamplingParams, TokenChunk
from antiphon.engine.generation import ModelRunner
from antiphon.engine.local_engine import LocalEngine
from antiphon.errors import AntiphonError, ConfigError, EngineError, PromptError, ServerBusyError
from tests.tiny_glm import (
    CONTEXT_LENGTH,
    GREEDY,
    VOCAB_SIZE,
    collect,
    make_engine,
    make_tiny_glm,
    wait_until,
)

ENDLESS = replace(GREEDY, max_new_tokens=10**9)


def run_with_engine(
    test: Callable[[LocalEngine], Awaitable[None]], max_concurrent: int = 4, max_queue: int = 8
) -> None:
    """Run an asynchronous test with an engine that is closed afterwards, within 50 s."""

    async def body() -> None:
        engine = make_engine(max_concurrent, max_queue)
        try:
            await asyncio.wait_for(test(engine), 50)
        finally:
            await engine.close()

    asyncio.run(body())


def greedy_by_hand(prompt: list[int], n: int) -> list[int]:
    """Continue a prompt without any cache, one full pass a token."""
    model, ids = make_tiny_glm(), list(prompt)
    with torch.inference_mode():
        for _ in range(n):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def random_prompt(seed: int, length: int = 12) -> list[int]:
    return [random.Random(seed * 1000 + i).randrange(VOCAB_SIZE) for i in range(length)]


@contextmanager
def slow_model(engine: LocalEngine, delay_s: float) -> Iterator[list[int]]:
    """Make every model call take `delay_s`; gives the list of call lengths."""
    runner: ModelRunner = engine._scheduler._runner
    run, calls = runner.run, []

    def slow_run(token_ids: list[int], cache: object) -> torch.Tensor:
        calls.append(len(token_ids))
        time.sleep(delay_s)
        return run(token_ids, cache)  # type: ignore[arg-type]

    runner.run = slow_run  # type: ignore[method-assign,assignment]
    yield calls
    runner.run = run  # type: ignore[method-assign]


def test_greedy_ids_equal_the_model_without_cache() -> None:
    prompt = random_prompt(1)
    expected = greedy_by_hand(prompt, 20)
    assert len(set(expected)) > 5, "the tiny model must not just repeat itself"

    async def test(engine: LocalEngine) -> None:
        assert await collect(engine.generate(prompt, GREEDY)) == (expected, "length")
        assert engine.stats() == EngineStats(running=0, waiting=0, generated_tokens=20)

    run_with_engine(test)


def test_a_stop_id_is_delivered_and_ends_the_reply() -> None:
    prompt = random_prompt(1)
    expected = greedy_by_hand(prompt, 20)
    stop = expected[7]
    first = expected.index(stop)

    async def test(engine: LocalEngine) -> None:
        ids, reason = await collect(
            engine.generate(prompt, replace(GREEDY, stop_token_ids=(stop,)))
        )
        assert (ids, reason) == (expected[: first + 1], "stop")

    run_with_engine(test)


def test_requests_running_together_give_the_ids_they_give_alone() -> None:
    sampled = SamplingParams(temperature=1.0, top_p=0.9, max_new_tokens=40)
    requests = [
        (random_prompt(seed, 5 + 9 * seed), replace(sampled, seed=seed)) for seed in range(10)
    ]

    async def test(engine: LocalEngine) -> None:
        alone = [await collect(engine.generate(*request)) for request in requests]
        together = await asyncio.gather(*(collect(engine.generate(*item)) for item in requests))
        assert together == alone
        assert len({tuple(ids) for ids, _ in alone}) == 10

    run_with_engine(test)


def test_a_prompt_computed_in_chunks_gives_the_same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.engine.generation.CPU_PREFILL_CHUNK", 7)
    prompt = random_prompt(2, 100)

    async def test(engine: LocalEngine) -> None:
        with slow_model(engine, 0.0) as calls:
            ids, _ = await collect(engine.generate(prompt, GREEDY))
        assert ids == greedy_by_hand(prompt, 20)
        assert calls == [7] * 14 + [2] + [1] * 19

    run_with_engine(test)


def test_a_session_reuses_its_prefix_and_gives_the_same_ids() -> None:
    async def test(engine: LocalEngine) -> None:
        history = random_prompt(3, 60)
        for turn in range(4):
            with slow_model(engine, 0.0) as calls:
                reply, _ = await collect(engine.generate(history, GREEDY, session_id="s"))
            assert reply == (await collect(engine.generate(history, GREEDY)))[0]
            if turn:  # only the new user turn and the last token of the reply are computed
                assert calls[0] == 9
            history = [*history, *reply, *random_prompt(10 + turn, 8)]

    run_with_engine(test)


def test_a_session_whose_history_changed_gives_the_same_ids() -> None:
    async def test(engine: LocalEngine) -> None:
        history = random_prompt(4, 50)
        await collect(engine.generate(history, GREEDY, session_id="s"))
        for changed in ([*history[:20], 5, 6, 7], history[:10], history, random_prompt(5)):
            reused, _ = await collect(engine.generate(changed, GREEDY, session_id="s"))
            assert reused == (await collect(engine.generate(changed, GREEDY)))[0]

    run_with_engine(test)


def test_two_requests_of_one_session_at_once_do_not_share_a_cache() -> None:
    first, second = random_prompt(6, 30), random_prompt(7, 30)

    async def test(engine: LocalEngine) -> None:
        replies = await asyncio.gather(
            *(collect(engine.generate(ids, GREEDY, session_id="s")) for ids in (first, second))
        )
        assert [ids for ids, _ in replies] == [greedy_by_hand(ids, 20) for ids in (first, second)]

    run_with_engine(test)


def test_a_seed_repeats_the_reply() -> None:
    sampling = SamplingParams(temperature=1.5, top_p=1.0, seed=9, max_new_tokens=30)

    async def test(engine: LocalEngine) -> None:
        prompt = random_prompt(8)
        first = await collect(engine.generate(prompt, sampling))
        assert first == await collect(engine.generate(prompt, sampling))
        assert first != await collect(engine.generate(prompt, replace(sampling, seed=10)))

    run_with_engine(test)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ([], "empty"),
        ([0] * CONTEXT_LENGTH, "has 256 tokens, but the context holds 256"),
        ([0] * 1000, "has 1000 tokens, but the context holds 256"),
        ([1, VOCAB_SIZE], "token id 300 is outside the vocabulary of 300"),
        ([-1, 5], "token id -1"),
        ([1.5], "whole numbers"),
        (["a"], "whole numbers"),
    ],
)
def test_wrong_prompts_are_refused_in_words(prompt: list[int], words: str) -> None:
    async def test(engine: LocalEngine) -> None:
        with pytest.raises(PromptError, match=words):
            engine.generate(prompt, GREEDY)
        assert engine.stats().waiting == engine.stats().running == 0

    run_with_engine(test)


def test_max_new_tokens_zero_is_refused_and_a_huge_one_fills_the_context() -> None:
    async def test(engine: LocalEngine) -> None:
        with pytest.raises(ConfigError, match="max_new_tokens 0"):
            engine.generate([1], replace(GREEDY, max_new_tokens=0))
        ids, reason = await collect(engine.generate([1, 2, 3], ENDLESS))
        assert (len(ids), reason) == (CONTEXT_LENGTH - 3, "length")
        last = await collect(engine.generate([1] * (CONTEXT_LENGTH - 1), ENDLESS))
        assert (len(last[0]), last[1]) == (1, "length")

    run_with_engine(test)


def test_sizes_that_do_not_fit_the_model_are_refused() -> None:
    with pytest.raises(ConfigError, match="301 does not fit a model with 300"):
        LocalEngine(make_tiny_glm(), vocab_size=301, context_length=64)
    with pytest.raises(ConfigError, match="max_concurrent 0"):
        LocalEngine(make_tiny_glm(), vocab_size=300, context_length=64, max_concurrent=0)


def test_closing_the_iterator_frees_the_place_within_one_step() -> None:
    async def test(engine: LocalEngine) -> None:
        with slow_model(engine, 0.02) as calls:
            stream = engine.generate([1, 2, 3], ENDLESS)
            await anext(stream)
            await stream.aclose()
            n_calls = len(calls)
            await asyncio.to_thread(wait_until, lambda: not engine.stats().running)
            assert len(calls) <= n_calls + 1
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    run_with_engine(test)


def test_cancel_by_id_ends_the_stream_as_cancelled() -> None:
    async def test(engine: LocalEngine) -> None:
        with slow_model(engine, 0.01):
            running = engine.generate([1], ENDLESS, request_id="r")
            await anext(running)
            await engine.cancel("r")
            await engine.cancel("unknown")
            assert (await collect(running))[1] == "cancelled"
            assert engine.stats().running == 0

    run_with_engine(test)


def test_a_waiting_request_can_be_cancelled_before_it_runs() -> None:
    async def test(engine: LocalEngine) -> None:
        with slow_model(engine, 0.01):
            running = engine.generate([1], ENDLESS)
            await anext(running)
            waiting = engine.generate([2], ENDLESS, request_id="w")
            assert engine.stats().waiting == 1
            await engine.cancel("w")
            assert await collect(waiting) == ([], "cancelled")
            assert engine.stats() == replace(engine.stats(), running=1, waiting=0)
            await running.aclose()

    run_with_engine(test, max_concurrent=1)


def test_cancelling_the_reading_task_and_dropping_the_stream_free_the_place() -> None:
    async def test(engine: LocalEngine) -> None:
        with slow_model(engine, 0.005):
            task = asyncio.create_task(collect(engine.generate([1], ENDLESS)))
            await asyncio.sleep(0.05)
            assert engine.stats().running == 1
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            del task
            engine.generate([1], ENDLESS)  # dropped at once
            gc.collect()
            await asyncio.to_thread(
                wait_until, lambda: not engine.stats().running and not engine.stats().waiting
            )

    run_with_engine(test)


def test_a_full_queue_refuses_and_recovers() -> None:
    async def test(engine: LocalEngine) -> None:
        with slow_model(engine, 0.005):
            streams = [engine.generate([1], ENDLESS) for _ in range(3)]
            with pytest.raises(ServerBusyError, match="try again"):
                engine.generate([1], GREEDY)
            for stream in streams:
                await stream.aclose()
            await asyncio.to_thread(wait_until, lambda: not engine.stats().running)
        assert len((await collect(engine.generate([1], GREEDY)))[0]) == 20

    run_with_engine(test, max_concurrent=2, max_queue=1)


def test_a_request_id_in_use_is_refused() -> None:
    async def test(engine: LocalEngine) -> None:
        stream = engine.generate([1], ENDLESS, request_id="same")
        with pytest.raises(EngineError, match="'same' is in use"):
            engine.generate([1], GREEDY, request_id="same")
        await stream.aclose()

    run_with_engine(test)


def test_a_long_prompt_does_not_stall_a_running_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.engine.generation.CPU_PREFILL_CHUNK", 10)

    async def test(engine: LocalEngine) -> None:
        running = engine.generate([1], ENDLESS)
        await anext(running)
        with slow_model(engine, 0.002) as calls:
            others = [engine.generate([2] * 200, GREEDY) for _ in range(3)]
            await anext(others[0])
            longest_gap = max(map(len, "".join("p" if n > 1 else "d" for n in calls).split("d")))
            assert longest_gap == 1, "more than one chunk of prompts between two tokens"
            for stream in (running, *others):
                await stream.aclose()

    run_with_engine(test)


def test_a_failing_request_does_not_touch_another(caplog: pytest.LogCaptureFixture) -> None:
    async def test(engine: LocalEngine) -> None:
        runner: ModelRunner = engine._scheduler._runner
        run = runner.run

        def fail_on_three(token_ids: list[int], cache: object) -> torch.Tensor:
            if len(token_ids) == 3:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory\nat some line")
            return run(token_ids, cache)  # type: ignore[arg-type]

        runner.run = fail_on_three  # type: ignore[method-assign,assignment]
        good, bad = await asyncio.gather(
            collect(engine.generate([1, 2], GREEDY)),
            collect(engine.generate([3, 4, 5], GREEDY, session_id="s")),
            return_exceptions=True,
        )
        assert isinstance(bad, EngineError)
        assert "can't allocate memory" in str(bad)
        assert good == (greedy_by_hand([1, 2], 20), "length")
        assert engine.stats().running == 0
        await engine.ping()

    run_with_engine(test)
    assert "failed" in caplog.text


def test_a_model_without_finite_scores_gives_an_error_not_a_crash() -> None:
    model = make_tiny_glm()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))

    async def body() -> None:
        engine = LocalEngine(model, vocab_size=VOCAB_SIZE, context_length=64)
        for _ in range(2):
            with pytest.raises(EngineError, match="no finite score"):
                await collect(engine.generate([1], GREEDY))
        await engine.close()

    asyncio.run(body())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_number_formats_work(dtype: torch.dtype) -> None:
    async def body() -> None:
        model = make_tiny_glm().to(dtype)
        engine = LocalEngine(model, vocab_size=VOCAB_SIZE, context_length=64)
        sampling = SamplingParams(temperature=1.0, top_p=0.9, seed=1, max_new_tokens=10)
        replies = [await collect(engine.generate([1, 2, 3], sampling)) for _ in range(2)]
        await engine.close()
        assert replies[0] == replies[1]
        assert len(replies[0][0]) == 10

    asyncio.run(body())


def test_an_engine_outlives_the_event_loop_of_a_reader() -> None:
    engine = make_engine()
    kept: list[AsyncIterator[TokenChunk]] = []

    async def read_one() -> None:
        kept.append(engine.generate([1], ENDLESS))
        await anext(kept[0])
        with pytest.raises(TimeoutError):
            with_delay.enter_context(slow_model(engine, 0.05))
            await asyncio.wait_for(never_read(engine), 0.01)

    with ExitStack() as with_delay:
        asyncio.run(read_one())
    kept.clear()
    wait_until(lambda: engine.stats().running == 0)
    assert asyncio.run(collect(engine.generate([1, 2], GREEDY)))[0] == greedy_by_hand([1, 2], 20)
    asyncio.run(engine.close())


async def never_read(engine: LocalEngine) -> None:
    await collect(engine.generate([3], ENDLESS))


def test_close_ends_running_and_waiting_streams_and_refuses_new_ones() -> None:
    async def body() -> None:
        engine = make_engine(max_concurrent=1)
        with slow_model(engine, 0.005):
            running, waiting = engine.generate([1], ENDLESS), engine.generate([2], ENDLESS)
            await anext(running)
            await engine.close()
            assert (await collect(running))[1] == "cancelled"
            assert await collect(waiting) == ([], "cancelled")
        with pytest.raises(EngineError, match="closed"):
            engine.generate([1], GREEDY)
        with pytest.raises(EngineError, match="closed"):
            await engine.ping()
        await engine.close()
        assert not any(thread.name == "antiphon-engine" for thread in threading.enumerate())

    asyncio.run(asyncio.wait_for(body(), 30))


def test_ping_notices_a_stuck_worker_and_a_dead_one(caplog: pytest.LogCaptureFixture) -> None:
    async def test(engine: LocalEngine) -> None:
        await engine.ping()
        with slow_model(engine, 0.4):
            stream = engine.generate([1], GREEDY)
            await asyncio.sleep(0.05)
            with pytest.raises(EngineError, match="not finished a step"):
                await engine.ping(timeout_s=0.05)
            await stream.aclose()

        def die() -> None:
            raise MemoryError("broken on purpose")

        engine._scheduler._step = die  # type: ignore[method-assign]
        with pytest.raises(EngineError, match="died"):
            await collect(engine.generate([1], GREEDY))
        with pytest.raises(EngineError, match="died"):
            await engine.ping()

    run_with_engine(test)
    assert "broken on purpose" in caplog.text


def test_two_hundred_mixed_requests_leak_nothing_and_all_end() -> None:
    """Good and bad requests, sessions, cancels at random: all streams end, good ids are right."""
    rng = random.Random(0)
    outcomes: list[str] = []
    reference: dict[int, list[int]] = {
        seed: greedy_by_hand(random_prompt(seed), 20) for seed in range(5)
    }

    async def one(engine: LocalEngine, number: int) -> None:
        await asyncio.sleep(rng.random() * 0.5)
        kind = rng.choice(["good", "good", "session", "cancel", "close", "range", "long", "zero"])
        seed = rng.randrange(5)
        prompt, sampling, session = random_prompt(seed), GREEDY, None
        if kind == "range":
            prompt = [*prompt, VOCAB_SIZE + number]
        elif kind == "long":
            prompt = [1] * (CONTEXT_LENGTH + number)
        elif kind == "zero":
            sampling = replace(GREEDY, max_new_tokens=-number)
        elif kind == "session":
            session = f"session {number % 7}"
        try:
            stream = engine.generate(prompt, sampling, request_id=str(number), session_id=session)
            if kind == "cancel":
                asyncio.get_running_loop().call_later(
                    rng.random() * 0.02, lambda: engine._scheduler.cancel(str(number))
                )
            if kind == "close":
                await anext(stream)
                await stream.aclose()
                outcomes.append("closed")
                return
            ids, reason = await collect(stream)
        except AntiphonError as error:
            outcomes.append(type(error).__name__)
            return
        assert ids == reference[seed][: len(ids)]
        assert reason == "cancelled" or len(ids) == 20
        outcomes.append(str(reason))

    async def test(engine: LocalEngine) -> None:
        await asyncio.gather(*(one(engine, number) for number in range(200)))
        await asyncio.to_thread(wait_until, lambda: not engine.stats().running)
        assert engine.stats().waiting == 0
        await engine.ping()

    run_with_engine(test, max_concurrent=8, max_queue=40)
    assert len(outcomes) == 200
    assert {"length", "closed", "PromptError", "ConfigError"} <= set(outcomes)
