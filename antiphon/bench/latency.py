"""How long one listener waits, stage by stage, from the end of a question to the last block."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from antiphon.bench.asking import Trace, ask, ask_speaking, greedily
from antiphon.bench.baseline import open_baseline
from antiphon.bench.options import option
from antiphon.bench.parts import Parts
from antiphon.bench.report import Figure, Report, Table, percentiles, ratio
from antiphon.errors import AntiphonError

OURS, HEARD, BASELINE = "antiphon", "antiphon, heard while spoken", "baseline"
SHOWN = ("p50", "p90", "max")
FIRST_AUDIO = "first audio, from the end of the question"
WHAT = (
    "Seconds that one listener waits, nobody else asking. Tokens and prefill are durations; first "
    "text and first audio count from the end of the question; later blocks from the one before."
)


@dataclass(frozen=True)
class Options:
    """How much to ask."""

    rounds: int = option(3, "times each question is asked")
    max_new_tokens: int = option(400, "most tokens of a reply")


def stages(trace: Trace) -> dict[str, float | None]:
    """Split one turn into its stages, in seconds."""
    found = {
        "speech tokens of the question": trace.tokens_s,
        "prefill": trace.prefill_s,
        "first text, from the end of the question": trace.first_text_s,
        FIRST_AUDIO: trace.first_audio_s,
    }
    gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(trace.sounds)]
    return found | {f"block {number}": gap for number, gap in enumerate(gaps, start=2)}


def tabulate(traces: dict[str, list[Trace]]) -> Table:
    """Put percentiles of all stages beside each other."""
    split = {side: [stages(trace) for trace in found] for side, found in traces.items()}
    longest = max((each for found in split.values() for each in found), key=len)
    rows = []
    for stage in longest:
        by_side = {
            side: [value for each in found if (value := each.get(stage)) is not None]
            for side, found in split.items()
        }
        cells = [cell for side in split for cell in percentiles(by_side[side], *SHOWN)]
        medians = [percentiles(by_side[side], "p50")[0] for side in (OURS, BASELINE)]
        rows.append((stage, *cells, ratio(*medians)))
    columns = [f"{side}: {name}" for side in split for name in SHOWN]
    return Table("stages in seconds", ("stage", *columns, "baseline / antiphon"), tuple(rows))


def waits(traces: Sequence[Trace]) -> list[tuple[float, float]]:
    """Say which share of the questions had sound after how many seconds."""
    first = sorted(t.first_audio_s for t in traces if t.first_audio_s is not None)
    return [(seconds, number / len(first)) for number, seconds in enumerate(first, start=1)]


async def measure(parts: Parts, options: Options) -> Report:
    """Ask each question in all three ways, in turns, so that all see one machine.

    Raises:
        AntiphonError: If a turn fails.
    """
    turn = greedily(options.max_new_tokens)
    traces: dict[str, list[Trace]] = {OURS: [], HEARD: [], BASELINE: []}
    async with parts.open_pipeline() as ours, open_baseline(parts) as baseline:
        for pipeline in (ours, baseline):
            await ask(pipeline, parts.clips[0], turn)
        for clip in parts.clips * options.rounds:
            traces[OURS].append(await ask(ours, clip, turn))
            traces[HEARD].append(await ask_speaking(ours, clip, turn))
            traces[BASELINE].append(await ask(baseline, clip, turn))
    for side, found in traces.items():
        for trace in found:
            if trace.error is not None:
                raise AntiphonError(f"a turn of {side} failed: {trace.error}")
    lines = {side: waits(found) for side, found in traces.items()}
    figure = Figure("Wait for the first sound", "seconds", "share of questions", lines)
    records = [{"side": side} | asdict(each) for side, found in traces.items() for each in found]
    return Report(WHAT, (tabulate(traces),), (figure,), tuple(records))
