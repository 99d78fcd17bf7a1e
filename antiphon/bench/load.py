"""How many people can talk at once: questions come at random times, whoever is still answered."""

import asyncio
import logging
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass

from antiphon.bench.asking import Trace, ask, greedily
from antiphon.bench.baseline import open_baseline
from antiphon.bench.options import option
from antiphon.bench.parts import Parts
from antiphon.bench.playback import Span, most_at_once, playback_end, slacks
from antiphon.bench.report import Cell, Figure, Report, Table, percentiles, ratio
from antiphon.dialogue.turn_pipeline import TurnPipeline
from antiphon.evaluation.report import share

logger = logging.getLogger(__name__)

WHAT = (
    "Open loop: sessions of one question each begin at random (Poisson) at a given rate, whatever "
    "is still being answered; those of the warm-up are not counted. Playback is simulated: a block "
    "is in time if the sound sent before it lasts until it comes. A session is live from its "
    "question until its sound has been played."
)
COLUMNS = (
    "sessions a second",
    "side",
    "sessions",
    "failures",
    "first audio p50",
    "first audio p90",
    "first audio p99",
    "blocks in time",
    "replies all in time",
    "most live sessions",
    "audio s a wall s",
)


@dataclass(frozen=True)
class Options:
    """How busy it gets, and for how long."""

    rates: tuple[float, ...] = option((0.1, 0.2, 0.4, 0.8), "sessions that begin in a second")
    duration_s: float = option(60.0, "seconds of arrivals that are counted, at each rate")
    warm_up_s: float = option(10.0, "seconds of arrivals before these")
    patience_s: float = option(60.0, "seconds after which a reply is given up: a failure")
    max_concurrent: int = option(8, "replies that the engine generates at the same time")
    max_new_tokens: int = option(400, "most tokens of a reply")


@dataclass(frozen=True)
class Call:
    """One session: when its question was asked, seconds after the run began, and how it went."""

    arrived_s: float
    trace: Trace

    @property
    def span(self) -> Span:
        """When it was live."""
        sounds, end_s = self.trace.sounds, self.trace.end_s
        last_s = max(end_s, playback_end(sounds)) if sounds else end_s
        return Span(self.arrived_s, self.arrived_s + last_s)


@dataclass(frozen=True)
class Outcome:
    """What one rate gave; the cells of a row after rate and side."""

    n_sessions: int
    n_failures: int
    ttfa_p50_s: float | None
    ttfa_p90_s: float | None
    ttfa_p99_s: float | None
    blocks_in_time: float | None
    replies_in_time: float | None
    n_live: int
    audio_per_s: float

    @property
    def is_flawless(self) -> bool:
        """Whether every reply came, and every block of it in time."""
        return self.n_failures == 0 and self.replies_in_time == 1.0


def draw_arrivals(rate: float, duration_s: float, seed: int) -> Iterator[float]:
    """Yield the times of a Poisson process, in seconds, below `duration_s`."""
    rng = random.Random(seed)
    at_s = rng.expovariate(rate)
    while at_s < duration_s:
        yield at_s
        at_s += rng.expovariate(rate)


def sum_up(calls: Sequence[Call], warm_up_s: float) -> Outcome:
    """Put the calls after the warm-up together; live sessions are counted among all."""
    counted = [call for call in calls if call.arrived_s >= warm_up_s]
    whole = [call.trace for call in counted if call.trace.error is None]
    first = [t.first_audio_s for t in whole if t.first_audio_s is not None]
    late = [[slack < 0 for slack in slacks(trace.sounds)] for trace in whole]
    end_s = max((call.arrived_s + call.trace.end_s for call in counted), default=warm_up_s)
    audio_s = sum(trace.audio_s for trace in whole)
    p50_s, p90_s, p99_s = percentiles(first, "p50", "p90", "p99")
    return Outcome(
        n_sessions=len(counted),
        n_failures=len(counted) - len(whole),
        ttfa_p50_s=p50_s,
        ttfa_p90_s=p90_s,
        ttfa_p99_s=p99_s,
        blocks_in_time=share([not is_late for reply in late for is_late in reply]),
        replies_in_time=share([not any(reply) for reply in late]),
        n_live=most_at_once(call.span for call in calls),
        audio_per_s=round(audio_s / (end_s - warm_up_s), 4) if counted else 0.0,
    )


async def run_rate(
    parts: Parts, pipeline: TurnPipeline, rate: float, options: Options
) -> list[Call]:
    """Let sessions begin at one rate and wait until all have ended."""
    began_at = time.perf_counter()
    turn = greedily(options.max_new_tokens)

    async def call(number: int, arrives_s: float) -> Call:
        await asyncio.sleep(began_at + arrives_s - time.perf_counter())
        arrived_s = time.perf_counter() - began_at
        clip = parts.clips[number % len(parts.clips)]
        trace = await ask(pipeline, clip, turn, patience_s=options.patience_s)
        return Call(arrived_s, trace)

    arrivals = draw_arrivals(rate, options.warm_up_s + options.duration_s, seed=1)
    return await asyncio.gather(*(call(number, at_s) for number, at_s in enumerate(arrivals)))


async def run_side(
    parts: Parts, opened: AbstractAsyncContextManager[TurnPipeline], options: Options, side: str
) -> dict[float, list[Call]]:
    """Run all rates on one system."""
    found = {}
    async with opened as pipeline:
        await ask(pipeline, parts.clips[0], greedily(options.max_new_tokens))
        for rate in options.rates:
            logger.info("load: %s, %g sessions a second", side, rate)
            found[rate] = await run_rate(parts, pipeline, rate, options)
    return found


def most_sessions(outcomes: Sequence[Outcome]) -> int:
    """Count the most live sessions of any run without a failure or a late block; 0 if none."""
    return max((outcome.n_live for outcome in outcomes if outcome.is_flawless), default=0)


async def measure(parts: Parts, options: Options) -> Report:
    """Run all rates on both systems."""
    opened = {
        "antiphon": parts.open_pipeline(options.max_concurrent),
        "baseline": open_baseline(parts),
    }
    calls = {side: await run_side(parts, one, options, side) for side, one in opened.items()}
    outcomes = {
        side: {rate: sum_up(found, options.warm_up_s) for rate, found in by_rate.items()}
        for side, by_rate in calls.items()
    }
    rows: list[tuple[Cell, ...]] = [
        (rate, side, *vars(outcomes[side][rate]).values())
        for rate in options.rates
        for side in outcomes
    ]
    most = {side: most_sessions(list(by_rate.values())) for side, by_rate in outcomes.items()}
    best = Table(
        "most live sessions with every block in time, among the rates run",
        (*most, "antiphon / baseline"),
        ((*most.values(), ratio(most["baseline"], most["antiphon"])),),
    )
    records = [
        {"side": side, "rate": rate} | asdict(call)
        for side, by_rate in calls.items()
        for rate, found in by_rate.items()
        for call in found
    ]
    tables = (best, Table("by rate", COLUMNS, tuple(rows)))
    return Report(WHAT, tables, draw_outcomes(outcomes), tuple(records))


def draw_outcomes(outcomes: dict[str, dict[float, Outcome]]) -> tuple[Figure, ...]:
    """Draw waits and lateness over the rate."""
    waits = {
        side: [(rate, o.ttfa_p90_s) for rate, o in by_rate.items() if o.ttfa_p90_s is not None]
        for side, by_rate in outcomes.items()
    }
    in_time = {
        side: [(rate, o.replies_in_time or 0.0) for rate, o in by_rate.items()]
        for side, by_rate in outcomes.items()
    }
    rate = "sessions that begin in a second"
    return (
        Figure("Wait for the first sound, 90th percentile", rate, "seconds", waits),
        Figure("Replies with every block in time", rate, "share", in_time),
    )
