"""Prompts computed ahead of time: less to do when they come, the same ids, nobody delayed."""

import asyncio
import math
import random
from collections.abc import Sequence

import pytest
import torch

from antiphon.engine import local_engine, model_runner, running_batch, token_stream
from antiphon.engine.base import WarmableEngine
from antiphon.engine.local_engine import LocalEngine
from antiphon.engine.model_runner import Row
from antiphon.engine.remote_engine import RemoteEngine
from antiphon.engine.warm_up import WarmUp, WarmUpQueue
from antiphon.errors import PromptError
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


async def until_warm(engine: LocalEngine) -> None:
    """Wait until no warm-up is left."""
    await asyncio.to_thread(wait_until, lambda: not engine._scheduler._warm_ups)


async def warm(engine: LocalEngine, token_ids: Sequence[int], session_id: str = "s") -> None:
    """Give a warm-up and wait for it."""
    engine.warm_up(token_ids, session_id)
    await until_warm(engine)


def test_only_the_rest_of_the_prompt_is_left_to_compute() -> None:
    prompt = random_prompt(1, 60)

    async def test(engine: LocalEngine) -> None:
        with slow_model(engine, 0.0) as calls:
            await warm(engine, prompt[:50])
            reply = await collect(engine.generate(prompt, GREEDY, session_id="s"))
        assert calls[:2] == [50, 10]
        assert reply == (greedy_by_hand(prompt, 20), "length")
        assert engine.stats().generated_tokens == 20
        assert count_slots_in_use(engine) == 0

    run_with_engine(test)


def test_a_beginning_that_grows_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_runner, "CPU_PREFILL_CHUNK", 16)
    prompt = random_prompt(2, 60)

    async def test(engine: LocalEngine) -> None:
        with slow_model(engine, 0.0) as calls:
            await warm(engine, prompt[:20])
            await warm(engine, prompt[:40])
            await warm(engine, prompt[:30])
            await warm(engine, prompt)
            reply = await collect(engine.generate(prompt, GREEDY, session_id="s"))
        assert calls[:7] == [16, 4, 16, 4, 16, 4, 1]
        assert reply == (greedy_by_hand(prompt, 20), "length")

    run_with_engine(test)


def test_a_prompt_that_came_out_otherwise_is_rewound() -> None:
    expected, said = random_prompt(3, 60), [*random_prompt(3, 30), 7, 8, 9]
    assert said[:30] == expected[:30]

    async def test(engine: LocalEngine) -> None:
        with slow_model(engine, 0.0) as calls:
            await warm(engine, expected)
            reply = await collect(engine.generate(said, GREEDY, session_id="s"))
        assert calls[:2] == [60, 3]
        assert reply == (greedy_by_hand(said, 20), "length")

    run_with_engine(test)


def test_the_next_turn_is_warmed_in_its_conversation() -> None:
    async def test(engine: LocalEngine) -> None:
        history = random_prompt(4, 40)
        reply, _ = await collect(engine.generate(history, GREEDY, session_id="s"))
        second = [*history, *reply, *random_prompt(5, 30)]
        with slow_model(engine, 0.0) as calls:
            await warm(engine, second[:-4])
            answer = await collect(engine.generate(second, GREEDY, session_id="s"))
        assert calls[:2] == [27, 4]  # the last id of the reply, and 26 new ones
        assert answer == (greedy_by_hand(second, 20), "length")

    run_with_engine(test)


def test_whatever_was_warmed_the_ids_are_the_same() -> None:
    rng = random.Random(6)
    prompts = [random_prompt(seed, rng.randrange(2, 180)) for seed in range(12)]

    async def turn(engine: LocalEngine, number: int) -> tuple[list[int], str | None]:
        """Warm up with beginnings that are right, wrong, or another session's."""
        prompt = prompts[number]
        for _ in range(rng.randrange(4)):
            cut = rng.randrange(1, len(prompt))
            wrong = random_prompt(99, rng.randrange(1, 20))
            engine.warm_up([*prompt[:cut], *rng.choice([[], wrong])], f"{number % 5}")
            await asyncio.sleep(rng.random() * 0.02)
        return await collect(engine.generate(prompt, GREEDY, session_id=f"{number % 5}"))

    async def test(engine: LocalEngine) -> None:
        found = await asyncio.gather(*(turn(engine, number) for number in range(12)))
        assert found == [(greedy_by_hand(prompt, 20), "length") for prompt in prompts]
        await until_warm(engine)
        assert count_slots_in_use(engine) == 0

    run_with_engine(test, max_concurrent=3, max_queue=20)


@pytest.mark.parametrize(("slack_s", "is_run"), [(math.inf, False), (-math.inf, True)])
def test_it_runs_only_while_replies_have_sound_in_hand(
    monkeypatch: pytest.MonkeyPatch, slack_s: float, *, is_run: bool
) -> None:
    monkeypatch.setattr(running_batch, "WARM_UP_SLACK_S", slack_s)

    async def test(engine: LocalEngine) -> None:
        with slow_model(engine, 0.001) as calls:
            stream = engine.generate([1, 2], ENDLESS)
            ids = [*(await anext(stream)).token_ids]
            engine.warm_up(random_prompt(1, 50), "s")
            ids += [(await anext(stream)).token_ids[0] for _ in range(40)]
            assert (50 in calls) == is_run
            await stream.aclose()
            await until_warm(engine)
        assert 50 in calls
        assert ids == greedy_by_hand([1, 2], 41)

    run_with_engine(test)


def test_replies_that_run_keep_their_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    slot_bytes = model_runner.cache_shape(make_tiny_glm(), CONTEXT_LENGTH).slot_bytes
    monkeypatch.setattr(local_engine, "cache_memory", lambda _: 2 * slot_bytes)
    monkeypatch.setattr(running_batch, "WARM_UP_SLACK_S", -math.inf)
    prompts = random_prompt(1), random_prompt(2)

    async def test(engine: LocalEngine) -> None:
        with slow_model(engine, 0.001) as calls:
            streams = [engine.generate(prompt, GREEDY) for prompt in prompts]
            first = [(await anext(stream)).token_ids[0] for stream in streams]
            await warm(engine, random_prompt(3, 50))
            rest = await asyncio.gather(*(collect(stream) for stream in streams))
        assert 50 not in calls, "there was no slot"
        for prompt, head, (tail, _) in zip(prompts, first, rest, strict=True):
            assert [head, *tail] == greedy_by_hand(prompt, 20)

    run_with_engine(test, max_concurrent=2)


def test_a_session_that_is_being_answered_is_warmed_afterwards_without_spinning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(token_stream, "BUFFER_SIZE", 5)

    async def test(engine: LocalEngine) -> None:
        scheduler, n_steps = engine._scheduler, 0
        step = scheduler._step

        def count_step() -> None:
            nonlocal n_steps
            n_steps += 1
            step()

        scheduler._step = count_step  # type: ignore[method-assign]
        paused = engine.generate([1, 2], ENDLESS, session_id="s")
        await asyncio.to_thread(wait_until, lambda: engine.stats().generated_tokens == 5)
        engine.warm_up(random_prompt(1, 50), "s")
        await asyncio.sleep(0.3)
        assert n_steps < 12
        assert len(scheduler._warm_ups) == 1
        await paused.aclose()
        await until_warm(engine)

    run_with_engine(test)


def test_the_prompt_itself_takes_the_place_of_its_warm_up() -> None:
    async def test(engine: LocalEngine) -> None:
        with slow_model(engine, 0.02) as calls:
            busy = engine.generate([1], ENDLESS)
            await anext(busy)
            engine.warm_up(random_prompt(1, 50), "s")
            reply = await collect(engine.generate(random_prompt(1, 60), GREEDY, session_id="s"))
            assert len(engine._scheduler._warm_ups) == 0
            await busy.aclose()
        assert 50 not in calls
        assert reply == (greedy_by_hand(random_prompt(1, 60), 20), "length")

    run_with_engine(test)


def test_one_that_fails_is_logged_and_the_prompt_computed_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(engine: LocalEngine) -> None:
        runner = runner_of(engine)
        run = runner.run

        def fail(rows: Sequence[Row]) -> torch.Tensor:
            raise RuntimeError("no more memory")

        runner.run = fail  # type: ignore[method-assign]
        await warm(engine, random_prompt(1, 50))
        runner.run = run  # type: ignore[method-assign]
        reply = await collect(engine.generate(random_prompt(1, 50), GREEDY, session_id="s"))
        assert reply == (greedy_by_hand(random_prompt(1, 50), 20), "length")
        assert count_slots_in_use(engine) == 0

    run_with_engine(test)
    assert "a warm-up failed" in caplog.text


def test_bad_beginnings_are_refused_and_a_closed_engine_takes_none() -> None:
    async def test(engine: LocalEngine) -> None:
        with pytest.raises(PromptError, match="outside the vocabulary"):
            engine.warm_up([VOCAB_SIZE], "s")
        with pytest.raises(PromptError, match="has 256 tokens"):
            engine.warm_up([1] * CONTEXT_LENGTH, "s")
        await engine.close()
        engine.warm_up([1], "s")

    run_with_engine(test)


def test_engines_can_be_warmed() -> None:
    assert issubclass(LocalEngine, WarmableEngine)
    assert issubclass(RemoteEngine, WarmableEngine)


def test_the_latest_of_each_session_waits_and_only_so_many_sessions() -> None:
    warm_ups = WarmUpQueue(2)
    old, new, other, late = (WarmUp(name, (number,)) for number, name in enumerate("aabc"))
    for each in (old, other, new, late):
        warm_ups.put(each)
    assert len(warm_ups) == 2
    assert warm_ups.first(set()) is new
    assert warm_ups.first({"a", None}) is other
    assert warm_ups.first({"a", "b"}) is None
    warm_ups.finish(old)
    assert len(warm_ups) == 2, "a later one has taken its place"
    warm_ups.finish(new)
    warm_ups.drop(None)
    warm_ups.drop("b")
    assert len(warm_ups) == 0
