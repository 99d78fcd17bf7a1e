"""What is left to compute when a person stops speaking, and how often settled ids change."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import fmean

import torch
from torch import Tensor

from antiphon.bench.asking import PIECE_S
from antiphon.bench.options import option
from antiphon.bench.parts import CLIP_RATE, Parts
from antiphon.bench.report import Cell, Figure, Report, Table, percentiles, ratio
from antiphon.errors import EngineError
from antiphon.models.base import SpeechEncoder, Waveform

WHAT = (
    "Milliseconds of computing at the end of speech: antiphon has heard the clip in pieces of 20 "
    "ms and finishes, the baseline begins with the whole clip. Settled ids are those that most "
    "likely stay; later, louder sound may change them."
)


@dataclass(frozen=True)
class Options:
    """How often to measure."""

    rounds: int = option(3, "times each clip is heard")


@dataclass(frozen=True)
class Heard:
    """One clip: seconds of three kinds, and what became of its settled ids."""

    duration_s: float
    hearing_s: float
    finish_s: float
    encode_s: float
    n_settled: int
    n_changed: int


@dataclass(frozen=True)
class Timed:
    """A result and the seconds it took."""

    result: Tensor
    spent_s: float


def timed(call: Callable[[], Tensor]) -> Timed:
    """Call, and take the time."""
    began_at = time.perf_counter()
    result = call()
    return Timed(result, time.perf_counter() - began_at)


def hear(tokenizer: SpeechEncoder, clip: Waveform) -> Heard:
    """Push one clip of at most 30 s in pieces, then take it as a whole.

    Raises:
        EngineError: If the two give different ids.
    """
    waveform = torch.from_numpy(clip)
    first_settled: list[int] = []
    given: list[int] = []
    hearing_s = 0.0
    with tokenizer.open_stream(CLIP_RATE) as stream:
        for piece in waveform.split(int(PIECE_S * CLIP_RATE)):
            pushed = timed(lambda piece=piece: stream.push(piece))  # type: ignore[misc]
            hearing_s += pushed.spent_s
            given += pushed.result.tolist()
            known = given + stream.settled.tolist()
            first_settled += known[len(first_settled) :]
        finished = timed(stream.finish)
    whole = timed(lambda: tokenizer.encode(waveform, CLIP_RATE))
    ids = given + finished.result.tolist()
    if ids != whole.result.tolist():
        raise EngineError("the ids heard are not those of the whole clip")
    return Heard(
        duration_s=len(waveform) / CLIP_RATE,
        hearing_s=hearing_s,
        finish_s=finished.spent_s,
        encode_s=whole.spent_s,
        n_settled=len(first_settled),
        n_changed=sum(a != b for a, b in zip(first_settled, ids, strict=False)),
    )


async def measure(parts: Parts, options: Options) -> Report:
    """Hear all clips; the first calls are slow and not counted."""
    tokenizer = parts.bundle.speech_tokenizer
    hear(tokenizer, parts.clips[0])
    clips = [hear(tokenizer, clip) for clip in parts.clips for _ in range(options.rounds)]
    names = ("p50", "p90", "max")
    ours = percentiles([1e3 * clip.finish_s for clip in clips], *names)
    theirs = percentiles([1e3 * clip.encode_s for clip in clips], *names)
    ratios = [ratio(our, their) for our, their in zip(ours, theirs, strict=True)]
    speed = sum(clip.hearing_s for clip in clips) / sum(clip.duration_s for clip in clips)
    others: tuple[tuple[Cell, ...], ...] = (
        ("clips", len(parts.clips)),
        ("mean length in s", round(fmean(clip.duration_s for clip in clips), 2)),
        ("seconds of computing for a second of sound, while hearing", round(speed, 4)),
        ("settled ids", sum(clip.n_settled for clip in clips)),
        ("settled ids that changed", sum(clip.n_changed for clip in clips)),
    )
    table = Table(
        "milliseconds at the end of speech",
        ("side", *names),
        (("antiphon", *ours), ("baseline", *theirs), ("baseline / antiphon", *ratios)),
    )
    lines = {
        side: sorted((clip.duration_s, 1e3 * getattr(clip, key)) for clip in clips)
        for side, key in (("antiphon", "finish_s"), ("baseline", "encode_s"))
    }
    figure = Figure("Left to compute at the end of speech", "length of the clip in s", "ms", lines)
    records = tuple(asdict(clip) for clip in clips)
    return Report(WHAT, (table, Table("clips", ("what", "value"), others)), (figure,), records)
