"""All benchmarks on a CUDA device, with random weights in the official shape."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import torch

from antiphon.bench import decoder, engine, hearing, latency, load, long, memory, turns
from antiphon.bench.parts import Parts
from antiphon.bench.random_model import make_parts, official_shape
from antiphon.bench.report import Report
from antiphon.errors import ConfigError


@dataclass(frozen=True)
class Presets:
    """The options of every benchmark."""

    latency: latency.Options
    load: load.Options
    turns: turns.Options
    long: long.Options
    memory: memory.Options
    decoder: decoder.Options
    engine: engine.Options
    hearing: hearing.Options


def large_presets() -> Presets:
    """Give the options for a large device: higher rates, more at once, a longer baseline."""
    return Presets(
        latency=latency.Options(rounds=5),
        load=load.Options(rates=(0.25, 0.5, 1.0, 2.0, 4.0), max_concurrent=64),
        turns=turns.Options(max_new_tokens=200),
        long=long.Options(baseline_minutes=1.0),
        memory=memory.Options(replies=(1, 4, 16)),
        decoder=decoder.Options(batches=(1, 2, 4, 8, 16)),
        engine=engine.Options(streams=(1, 4, 8, 16, 64)),
        hearing=hearing.Options(),
    )


def open_official_parts() -> Parts:
    """Build the official shape in bfloat16 (speech parts in float32) on the CUDA device.

    Raises:
        ConfigError: If there is none.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None or not torch.cuda.is_available():
        raise ConfigError(
            "antiphon bench gpu needs a CUDA device, and torch finds none here; the other "
            "benchmarks run on a CPU"
        )
    return make_parts(official_shape(), accelerator, torch.bfloat16)


async def measure_all(parts: Parts, presets: Presets) -> AsyncIterator[tuple[str, Report]]:
    """Run all benchmarks in turn; yields the name and the report of each."""
    yield "latency", await latency.measure(parts, presets.latency)
    yield "load", await load.measure(parts, presets.load)
    yield "turns", await turns.measure(parts, presets.turns)
    yield "long", await long.measure(parts, presets.long)
    yield "memory", await memory.measure(parts, presets.memory)
    yield "decoder", await decoder.measure(parts, presets.decoder)
    yield "engine", await engine.measure(parts, presets.engine)
    yield "hearing", await hearing.measure(parts, presets.hearing)
