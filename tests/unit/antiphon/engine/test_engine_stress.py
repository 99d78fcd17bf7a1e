"""A thousand requests, good and bad, many of them cancelled at random: nothing is lost or leaks."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

import pytest

from antiphon.engine.base import SamplingParams, TokenChunk
from antiphon.engine.local_engine import LocalEngine
from antiphon.errors import AntiphonError
from tests.engine_bench import (
    count_slots_in_use,
    greedy_by_hand,
    random_prompt,
    run_with_engine,
)
from tests.tiny_glm import CONTEXT_LENGTH, GREEDY, VOCAB_SIZE, collect, wait_until

N_REQUESTS = 1000
DURATION_S = 2.0
BAD_KINDS = ["range", "long", "zero"]
KINDS = ["good"] * 3 + ["session"] * 2 + ["cancel"] * 2 + ["close", "drop", *BAD_KINDS]
SAMPLED = SamplingParams(temperature=1.0, top_p=0.9, seed=1, max_new_tokens=30)


@dataclass
class Crowd:
    """Requests at random times, and what became of them."""

    engine: LocalEngine
    expected: dict[int, list[int]]
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    outcomes: Counter[str] = field(default_factory=Counter)

    async def ask(self, number: int) -> None:
        """Send one request of a random kind and see it through."""
        await asyncio.sleep(self.rng.random() * DURATION_S)
        kind, seed = self.rng.choice(KINDS), self.rng.randrange(5)
        try:
            outcome = await self._run(kind, seed, self._send(kind, seed, number), number)
        except AntiphonError as error:
            outcome = type(error).__name__
        self.outcomes[outcome] += 1

    def _send(self, kind: str, seed: int, number: int) -> AsyncGenerator[TokenChunk, None]:
        """Submit a request; those of some kinds are bad."""
        prompt, sampling = random_prompt(seed), GREEDY
        if kind == "range":
            prompt = [*prompt, VOCAB_SIZE + number]
        elif kind == "long":
            prompt = [1] * (CONTEXT_LENGTH + number)
        elif kind == "zero":
            sampling = replace(GREEDY, max_new_tokens=-number)
        elif kind == "drop":
            prompt, sampling = random_prompt(number, 150), SAMPLED
        session_id = f"session {number % 7}" if kind == "session" else None
        return self.engine.generate(prompt, sampling, request_id=str(number), session_id=session_id)

    async def _run(
        self, kind: str, seed: int, stream: AsyncGenerator[TokenChunk, None], number: int
    ) -> str:
        """Read a reply as its kind does; those that are read to the end must be right."""
        if kind == "close":
            await anext(stream)
            await stream.aclose()
            return "closed"
        if kind == "drop":
            return "dropped"  # with its stream, unread
        if kind == "cancel":
            delay_s = self.rng.random() * 0.05
            loop = asyncio.get_running_loop()
            loop.call_later(delay_s, self.engine._scheduler.cancel, str(number))
        ids, reason = await collect(stream)
        assert ids == self.expected[seed][: len(ids)]
        assert reason == "cancelled" or len(ids) == 20
        return str(reason)


@pytest.mark.parametrize("attention", ["exact", "sdpa"])
def test_a_thousand_mixed_requests_leak_nothing_and_all_end(attention: str) -> None:
    """The exact decoder stops at once, the other one step late."""
    expected = {seed: greedy_by_hand(random_prompt(seed), 20) for seed in range(5)}

    async def test(engine: LocalEngine) -> None:
        crowd = Crowd(engine, expected)
        await asyncio.gather(*(crowd.ask(number) for number in range(N_REQUESTS)))
        await asyncio.to_thread(
            wait_until, lambda: engine.stats().running + engine.stats().waiting == 0, 30
        )
        await engine.ping()
        assert crowd.outcomes.total() == N_REQUESTS
        assert count_slots_in_use(engine) == 0
        assert not engine._scheduler._open
        assert {"length", "cancelled", "closed", "dropped"} <= set(crowd.outcomes)
        assert {"PromptError", "ConfigError"} <= set(crowd.outcomes)
        assert crowd.outcomes["EngineError"] == 0
        assert await collect(engine.generate(random_prompt(0), GREEDY)) == (expected[0], "length")

    run_with_engine(test, max_concurrent=8, max_queue=40, attention=attention)
