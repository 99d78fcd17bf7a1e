"""Requests that are cancelled, refused, failing or unread: nothing hangs, nothing leaks."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch

from antiphon.engine.base import SamplingParams, TokenChunk
from antiphon.engine.local_engine import LocalEngine
from antiphon.engine.model_runner import Row
from antiphon.errors import EngineError, ServerBusyError
from tests.engine_bench import (
    ENDLESS,
    greedy_by_hand,
    run_with_engine,
    runner_of,
    slow_model,
)
from tests.tiny_glm import (
    GREEDY,
    VOCAB_SIZE,
    collect,
    make_engine,
    make_tiny_glm,
    wait_until,
)


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
            await asyncio.to_thread(wait_until, lambda: engine.stats().running == 2)
            with pytest.raises(ServerBusyError, match=r"1 requests wait.* try again") as refused:
                engine.generate([1], GREEDY)
            assert refused.value.queue_length == 1
            assert refused.value.retry_after_s is not None
            assert 1 <= refused.value.retry_after_s <= 60
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
    monkeypatch.setattr("antiphon.engine.model_runner.CPU_PREFILL_CHUNK", 10)

    async def test(engine: LocalEngine) -> None:
        passes: list[str] = []
        runner = runner_of(engine)

        def recorded(rows: Sequence[Row]) -> torch.Tensor:
            lengths = [len(row.token_ids) for row in rows]
            assert max(lengths) <= 10
            passes.append("p" * sum(n > 1 for n in lengths) + "d" * (1 in lengths))
            return run(rows)

        running = engine.generate([1], ENDLESS)
        await anext(running)
        with slow_model(engine, 0.002):
            run, runner.run = runner.run, recorded  # type: ignore[method-assign]
            others = [engine.generate([2] * 200, GREEDY) for _ in range(3)]
            await anext(others[0])
            longest_gap = max(map(len, "".join(passes).split("d")))
            assert longest_gap == 1, "more than one chunk of prompts between two tokens"
            assert "pd" in passes, "a chunk does not go through the model beside the reply"
            for stream in (running, *others):
                await stream.aclose()

    run_with_engine(test)


def test_a_failing_request_does_not_touch_another(caplog: pytest.LogCaptureFixture) -> None:
    async def test(engine: LocalEngine) -> None:
        runner = runner_of(engine)
        run = runner.run

        def fail_on_three(rows: Sequence[Row]) -> torch.Tensor:
            if len(rows[0].token_ids) == 3:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory\nat some line")
            return run(rows)

        runner.run = fail_on_three  # type: ignore[method-assign]
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
