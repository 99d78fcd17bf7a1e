"""All benchmarks on a CUDA device, with random weights in the official shape."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import torch

from antiphon.bench import decoder, engine, hearing, latency, load, long, memory, step, turns
from antiphon.bench.parts import Parts
from antiphon.bench.random_model import make_parts, official_shape, quantize_layers
from antiphon.bench.report import Report
from antiphon.errors import ConfigError


@dataclass(frozen=True)
class Presets:
    """The options of every benchmark."""

    step: step.Options
    latency: latency.Options
    load: load.Options
    turns: turns.Options
    long: long.Options
    memory: memory.Options
    decoder: decoder.Options
    engine: engine.Options
    hearing: hearing.Options


def large_presets() -> Presets:
    """Give the options for a large device: much at once, and in all less than eight minutes.

    The baseline takes most of that: it answers one after another, whatever it is asked.
    """
    return Presets(
        step=step.Options(batches=(1, 16, 64, 128), contexts=(200, 1000), steps=50),
        latency=latency.Options(rounds=1, max_new_tokens=200),
        load=load.Options(
            rates=(2.0, 6.0, 12.0),
            duration_s=12.0,
            warm_up_s=3.0,
            patience_s=20.0,
            max_concurrent=160,
        ),
        turns=turns.Options(),
        long=long.Options(),
        memory=memory.Options(replies=(1, 8), max_new_tokens=100),
        decoder=decoder.Options(batches=(1, 4, 16), contexts=(20, 50), replies=2),
        engine=engine.Options(streams=(1, 16, 64, 128), rounds=2),
        hearing=hearing.Options(rounds=1),
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
    yield "step", await step.measure(parts, presets.step)
    yield "latency", await latency.measure(parts, presets.latency)
    yield "load", await load.measure(parts, presets.load)
    yield "turns", await turns.measure(parts, presets.turns)
    yield "long", await long.measure(parts, presets.long)
    yield "memory", await memory.measure(parts, presets.memory)
    yield "decoder", await decoder.measure(parts, presets.decoder)
    yield "engine", await engine.measure(parts, presets.engine)
    yield "hearing", await hearing.measure(parts, presets.hearing)
    quantize_layers(parts.language_model, "int4")
    yield "step-int4", await step.measure(parts, presets.step)
