"""How long the language model takes for a token of many replies, beside what memory allows."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import GlmForCausalLM

from antiphon.bench.options import option
from antiphon.bench.parts import Parts
from antiphon.bench.report import Cell, Figure, Point, Report, Table
from antiphon.engine.decoder import Decoder, Flight, make_decoder
from antiphon.engine.model_runner import ModelRunner, cache_shape
from antiphon.engine.sampling import Pick
from antiphon.engine.slot_cache import cache_memory, count_slots
from antiphon.engine.static_step import NextToken
from antiphon.errors import ConfigError

WHAT = (
    "Milliseconds from step to step of the language model alone, sampling included, each read as "
    "the engine reads it. The limit is the time in which the device copies as many bytes as the "
    "weights and the keys and values of all replies have, reading and writing counted as one."
)
GIGABYTE = 1e9
PICK = Pick("likely", 0.02, 0.8, 0, 0.5, None)
"""Cold enough for a few candidates to suffice, whatever the weights."""

N_COPIES = 10
COPIED_BYTES = 2**28
N_WARM = 5


@dataclass(frozen=True)
class Options:
    """What to run."""

    batches: tuple[int, ...] = option((1, 4, 16), "replies at once")
    contexts: tuple[int, ...] = option((200, 1000), "tokens before the step")
    steps: int = option(50, "steps to measure")


def copy_speed(device: torch.device) -> float:
    """Measure how many bytes a second the device reads or writes, the two together."""
    block = torch.zeros(COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(block)
    best_s = float("inf")
    for _ in range(N_COPIES):
        synchronize(device)
        began_at = time.perf_counter()
        target.copy_(block)
        synchronize(device)
        best_s = min(best_s, time.perf_counter() - began_at)
    return 2 * COPIED_BYTES / best_s


def synchronize(device: torch.device) -> None:
    """Wait until an accelerator has done what it was told."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)


def read_bytes(model: GlmForCausalLM) -> int:
    """Count the bytes of weights that every step reads: all but the embedding's."""
    embedding = model.model.embed_tokens.weight
    return sum(each.nbytes for each in model.parameters() if each is not embedding)


def time_steps(decoder: Decoder, n_rows: int, context: int, n_steps: int) -> float:
    """Give the mean time of a step in seconds."""
    began_at = 0.0
    flying: Flight | None = None
    for number in range(N_WARM + n_steps):
        if number == N_WARM:
            began_at = time.perf_counter()
        tokens = [NextToken(slot, context + number, 1, PICK) for slot in range(n_rows)]
        flight: Flight = decoder.decode(tokens)
        if flying is not None:
            flying.read()
        flying = flight
    if flying is not None:
        flying.read()
    return (time.perf_counter() - began_at) / n_steps


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step of so many replies with so many tokens each."""

    n_rows: int
    context: int
    spent_s: float


def run_all(model: GlmForCausalLM, options: Options) -> list[StepTime]:
    """Time all batches and contexts.

    Raises:
        ConfigError: If they do not fit the memory.
    """
    n_most = max(options.batches)
    length = max(options.contexts) + N_WARM + options.steps
    shape = cache_shape(model, length)
    if count_slots(shape, n_most, cache_memory(model.device)) < n_most:
        raise ConfigError(
            f"keys and values of {n_most} replies with {length} tokens each do not fit; give "
            "smaller --batches or --contexts"
        )
    runner = ModelRunner(model, n_most, length)
    runner.adopt_thread()
    decoder = make_decoder(runner)
    found = []
    for context in options.contexts:
        for n_rows in options.batches:
            spent_s = time_steps(decoder, n_rows, context, options.steps)
            found.append(StepTime(n_rows, context, spent_s))
    return found


async def measure(parts: Parts, options: Options) -> Report:
    """Time the steps of the model of `parts`."""
    model = parts.language_model
    speed = copy_speed(model.device)
    n_bytes, slot = read_bytes(model), cache_shape(model, 1)
    token_bytes = slot.slot_bytes / slot.capacity
    found = await asyncio.to_thread(run_all, model, options)
    rows: list[tuple[Cell, ...]] = []
    for each in found:
        n_rows, context, spent_s = each.n_rows, each.context, each.spent_s
        limit_s = (n_bytes + n_rows * context * token_bytes) / speed
        times = (round(spent_s * 1000, 3), round(limit_s * 1000, 3))
        rows.append((n_rows, context, *times, round(spent_s / limit_s, 2), n_rows / spent_s))
    columns = ("replies", "context", "ms a step", "limit in ms", "step / limit", "tokens a second")
    sizes: tuple[tuple[Cell, ...], ...] = (
        ("weights read in a step, GB", round(n_bytes / GIGABYTE, 3)),
        ("keys and values of a token, bytes", int(token_bytes)),
        ("copying, GB a second", round(speed / GIGABYTE, 1)),
    )
    tables = (Table("steps", columns, tuple(rows)), Table("sizes", ("what", "value"), sizes))
    return Report(WHAT, tables, (draw_steps(found),))


def draw_steps(found: Sequence[StepTime]) -> Figure:
    """Draw the time of a step over the number of replies."""
    lines: dict[str, list[Point]] = {}
    for each in found:
        line = lines.setdefault(f"{each.context} tokens", [])
        line.append((each.n_rows, each.spent_s * 1000))
    return Figure("A step of the language model", "replies at once", "milliseconds", lines)
