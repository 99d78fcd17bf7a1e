"""Runs tests against an engine on the tiny random model."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from antiphon.engine.local_engine import LocalEngine
from antiphon.engine.model_runner import ModelRunner, Row
from tests.tiny_glm import (
    GREEDY,
    VOCAB_SIZE,
    make_engine,
    make_tiny_glm,
)

ENDLESS = replace(GREEDY, max_new_tokens=10**9)


def run_with_engine(
    test: Callable[[LocalEngine], Awaitable[None]],
    max_concurrent: int = 4,
    max_queue: int = 8,
    attention: str = "auto",
    device: str = "cpu",
) -> None:
    """Run an asynchronous test with an engine that is closed afterwards, within 240 s."""

    async def body() -> None:
        engine = make_engine(max_concurrent, max_queue, attention, device)
        try:
            await asyncio.wait_for(test(engine), 240)
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


def runner_of(engine: LocalEngine) -> ModelRunner:
    """Reach the model inside an engine."""
    return engine._scheduler._batch._runner


def count_slots_in_use(engine: LocalEngine) -> int:
    """Count the slots that are neither free nor kept for a next turn."""
    batch = engine._scheduler._batch
    return runner_of(engine).cache.n_slots - batch.n_free_slots - batch.n_idle_slots


@contextmanager
def slow_model(engine: LocalEngine, delay_s: float) -> Iterator[list[int]]:
    """Make every forward pass take `delay_s`; gives the list of new tokens a row in each."""
    runner = runner_of(engine)
    run, calls = runner.run, []

    def slow_run(rows: Sequence[Row]) -> torch.Tensor:
        calls.append(len(rows[0].token_ids))
        time.sleep(delay_s)
        return run(rows)

    runner.run = slow_run  # type: ignore[method-assign]
    yield calls
    runner.run = run  # type: ignore[method-assign]
