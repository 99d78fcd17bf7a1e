"""How much memory replies take beyond the weights, and what one more conversation costs."""

import asyncio
import ctypes
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from antiphon.bench.asking import ask, greedily
from antiphon.bench.baseline import open_baseline
from antiphon.bench.options import option
from antiphon.bench.parts import Parts
from antiphon.bench.report import Cell, Figure, Report, Table, ratio
from antiphon.dialogue.turn_pipeline import TurnPipeline
from antiphon.engine.local_engine import IDLE_SLOTS
from antiphon.engine.model_runner import cache_shape
from antiphon.engine.slot_cache import cache_memory, count_slots
from antiphon.errors import AntiphonError

MEBIBYTE = 2**20
SAMPLE_S = 0.005
WHAT = (
    "Memory in MiB: of the process on a CPU (resident set, sampled every 5 ms), of torch's "
    "allocations on an accelerator. Peaks are given beyond what was in use just before, with slots "
    "allocated and both systems warm. The baseline answers the same questions one after another."
)


@dataclass(frozen=True)
class Options:
    """How many replies there are at once."""

    replies: tuple[int, ...] = option((1, 4, 8), "replies at once")
    max_new_tokens: int = option(400, "most tokens of a reply")


@dataclass
class Peak:
    """Most bytes in use."""

    n_bytes: int = 0


def used_bytes(device: torch.device) -> int:
    """Say how many bytes are in use now."""
    if device.type != "cpu":
        return int(torch.get_device_module(device).memory_allocated(device))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def free_unused() -> None:
    """Give memory that nobody uses back, so that one measurement does not live on another's."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    if trim is not None:
        trim(0)


@contextmanager
def watch(device: torch.device) -> Iterator[Peak]:
    """Find the peak while the context is open; it is complete afterwards."""
    peak, is_over = Peak(used_bytes(device)), threading.Event()

    def sample() -> None:
        while not is_over.wait(SAMPLE_S):
            peak.n_bytes = max(peak.n_bytes, used_bytes(device))

    if device.type == "cpu":
        watcher = threading.Thread(target=sample, name="antiphon-memory", daemon=True)
        watcher.start()
        try:
            yield peak
        finally:
            is_over.set()
            watcher.join()
        return
    module = torch.get_device_module(device)
    module.reset_peak_memory_stats(device)
    yield peak
    peak.n_bytes = int(module.max_memory_allocated(device))


async def answer(parts: Parts, pipeline: TurnPipeline, n: int, options: Options) -> None:
    """Ask `n` questions at once.

    Raises:
        AntiphonError: If a turn fails.
    """
    turn = greedily(options.max_new_tokens)
    clips = [parts.clips[number % len(parts.clips)] for number in range(n)]
    for trace in await asyncio.gather(*(ask(pipeline, clip, turn) for clip in clips)):
        if trace.error is not None:
            raise AntiphonError(f"a turn failed: {trace.error}")


async def measure_peaks(
    parts: Parts, pipeline: TurnPipeline, device: torch.device, options: Options
) -> list[float]:
    """Give the peaks of all numbers of replies in MiB, beyond the use before each."""
    found = []
    await answer(parts, pipeline, 1, options)
    for n in options.replies:
        free_unused()
        level = used_bytes(device)
        with watch(device) as peak:
            await answer(parts, pipeline, n, options)
        found.append(round((peak.n_bytes - level) / MEBIBYTE, 1))
    return found


async def measure(parts: Parts, options: Options) -> Report:
    """Measure both systems, one after the other."""
    model = parts.language_model
    device, n_most = model.device, max(options.replies)
    shape = cache_shape(model, parts.layout.context_length)
    n_slots = count_slots(shape, n_most + IDLE_SLOTS, cache_memory(device))
    loaded = used_bytes(device) / MEBIBYTE
    async with parts.open_pipeline(n_most) as pipeline:
        opened = used_bytes(device) / MEBIBYTE
        ours = await measure_peaks(parts, pipeline, device, options)
    async with open_baseline(parts) as pipeline:
        theirs = await measure_peaks(parts, pipeline, device, options)
    sizes: tuple[tuple[Cell, ...], ...] = (
        ("in use with all weights loaded", round(loaded, 1)),
        ("in use with the engine open", round(opened, 1)),
        ("slots", n_slots),
        ("tokens a slot", shape.capacity),
        ("one slot, allocated at the start", round(shape.slot_bytes / MEBIBYTE, 2)),
    )
    rows = [(n, a, b, ratio(a, b)) for n, a, b in zip(options.replies, ours, theirs, strict=True)]
    columns = ("replies at once", "antiphon", "baseline", "baseline / antiphon")
    lines = {
        side: list(zip(options.replies, peaks, strict=True))
        for side, peaks in (("antiphon", ours), ("baseline", theirs))
    }
    return Report(
        WHAT,
        (Table("sizes", ("what", "MiB or number"), sizes), Table("peaks", columns, tuple(rows))),
        (Figure("Peak beyond the weights and slots", "replies at once", "MiB", lines),),
    )
