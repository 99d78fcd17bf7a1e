"""Recorded steps on a CUDA device: the ids of the exact decoder, and few graphs."""

import asyncio
import random
from dataclasses import replace

import pytest
import torch

from antiphon.engine.local_engine import LocalEngine
from tests.conftest import NO_CUDA
from tests.engine_bench import count_slots_in_use, random_prompt, run_with_engine
from tests.static_bench import Pair, decode_at_random, random_sampling
from tests.tiny_glm import GREEDY, collect, make_small_glm, say_twice

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_CUDA),
]
GPU = "cuda"


@pytest.mark.parametrize("seed", range(3))
def test_recorded_steps_choose_what_exact_ones_on_the_cpu_do(seed: int) -> None:
    decode_at_random(seed, GPU)


def test_a_shape_is_recorded_once() -> None:
    pair, rng = Pair(GPU), random.Random(0)
    talks = [pair.begin(slot, [1, 2, 3 + slot], GREEDY) for slot in range(3)]
    for _ in range(5):
        pair.step(talks, rng)
    assert len(pair.decoders[1].graphs) == 1
    assert pair.static.network.is_recordable


def test_the_engine_says_the_same_in_any_company_late_or_not() -> None:
    rng = random.Random(5)
    requests = [
        (random_prompt(n, rng.randrange(2, 150)), replace(random_sampling(rng), max_new_tokens=30))
        for n in range(16)
    ]

    async def ask(engine: LocalEngine) -> list[tuple[list[int], str | None]]:
        return await asyncio.gather(*(collect(engine.generate(*each)) for each in requests))

    found = []

    async def test(engine: LocalEngine) -> None:
        found.append(await ask(engine))
        assert count_slots_in_use(engine) == 0

    run_with_engine(test, max_concurrent=8, max_queue=20, attention="exact")
    run_with_engine(test, max_concurrent=8, max_queue=20, attention="sdpa", device=GPU)
    assert found[0] == found[1]


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "int4"])
def test_small_number_formats_run_through_the_same_loop(dtype: str) -> None:
    asyncio.run(say_twice(make_small_glm(dtype, GPU)))
