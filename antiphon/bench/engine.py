"""Tokens a second of the engine with many replies at once, beside one request after another."""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.bench.baseline import LockedEngine
from antiphon.bench.options import option
from antiphon.bench.parts import Parts
from antiphon.bench.report import Cell, Figure, Report, Table, ratio
from antiphon.engine.base import Engine, SamplingParams
from antiphon.errors import EngineError

WHAT = (
    "Tokens a second of all replies together, prompts included in the time; medians over rounds in "
    "which all settings take turns. Prompts are random; all replies have one length and none may "
    "end early. The baseline is transformers' generate, one request after another."
)
TEMPERATURE, TOP_P = 0.2, 0.8


@dataclass(frozen=True)
class Options:
    """How much to generate."""

    streams: tuple[int, ...] = option((1, 4, 8, 16), "replies at once")
    rounds: int = option(5, "times each setting is measured")
    n_prompt: int = option(100, "tokens of a prompt")
    n_new: int = option(128, "tokens of a reply")


def draw_prompts(n: int, n_tokens: int, vocab_size: int) -> list[list[int]]:
    """Draw prompts of random ids."""
    rng = random.Random(1)
    return [[rng.randrange(vocab_size) for _ in range(n_tokens)] for _ in range(n)]


async def tokens_a_second(engine: Engine, prompts: Sequence[Sequence[int]], n_new: int) -> float:
    """Answer all prompts at once.

    Raises:
        EngineError: If a reply has another length.
    """
    sampling = SamplingParams(temperature=TEMPERATURE, top_p=TOP_P, seed=1, max_new_tokens=n_new)

    async def answer(prompt: Sequence[int]) -> int:
        return sum([len(chunk.token_ids) async for chunk in engine.generate(prompt, sampling)])

    began_at = time.perf_counter()
    counts = await asyncio.gather(*(answer(prompt) for prompt in prompts))
    spent_s = time.perf_counter() - began_at
    if set(counts) != {n_new}:
        raise EngineError(f"replies of {sorted(set(counts))} tokens came, expected {n_new}")
    return sum(counts) / spent_s


async def measure(parts: Parts, options: Options) -> Report:
    """Measure all settings in turns."""
    n_most = max(options.streams)
    prompts = draw_prompts(n_most, options.n_prompt, parts.layout.vocab_size)
    baseline, engine = LockedEngine(parts.language_model), parts.open_engine(n_most)
    theirs: list[float] = []
    ours: dict[int, list[float]] = {n: [] for n in options.streams}
    try:
        await tokens_a_second(baseline, prompts[:1], options.n_new)
        for _ in range(options.rounds):
            theirs.append(await tokens_a_second(baseline, prompts[:1], options.n_new))
            for n, found in ours.items():
                found.append(await tokens_a_second(engine, prompts[:n], options.n_new))
    finally:
        await asyncio.gather(engine.close(), baseline.close())
    slow = statistics.median(theirs)
    fast = {n: statistics.median(found) for n, found in ours.items()}
    rows: list[tuple[Cell, ...]] = [("baseline, one request after another", slow, None)]
    rows += [(f"antiphon, {n} at once", speed, ratio(slow, speed)) for n, speed in fast.items()]
    columns = ("setting", "tokens a second", "antiphon / baseline")
    lines = {
        "antiphon": list(fast.items()),
        "baseline": [(n, slow) for n in options.streams],
    }
    figure = Figure("Speed of the engine", "replies at once", "tokens a second", lines)
    return Report(WHAT, (Table("speed", columns, tuple(rows)),), (figure,))
