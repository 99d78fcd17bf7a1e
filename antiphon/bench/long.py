"""Whether the blocks of a long reply stay as cheap as its first ones."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from antiphon.bench.baseline import ORIGINAL_BLOCKS, FullHistoryDecoder
from antiphon.bench.options import option
from antiphon.bench.parts import Parts
from antiphon.bench.report import Cell, Figure, Report, Table, ratio
from antiphon.models.base import SpeechDecoder
from flow_inference import BlockSchedule

TOKENS_A_MINUTE = 750
EARLY, LATE = 2, 60
WHAT = (
    "Seconds of computing for each block of one reply, mel and vocoder, nothing else running. As "
    "blocks differ in length, they are compared by seconds of computing for a second of speech. "
    "The reply of the baseline is shorter because its cost grows with the square."
)
COLUMNS = ("block", "tokens", "ends after s", "seconds", "seconds a second of speech")


@dataclass(frozen=True)
class Options:
    """How long the replies are."""

    minutes: float = option(5.0, "length of the reply in minutes of speech")
    baseline_minutes: float = option(0.5, "the same for the baseline")


@dataclass(frozen=True)
class Block:
    """One block: its number from 1, tokens, second of speech at which it ends, and its cost."""

    number: int
    n_tokens: int
    end_s: float
    cost_s: float

    @property
    def cost_a_second(self) -> float:
        """Seconds of computing for a second of speech."""
        return self.cost_s * TOKENS_A_MINUTE / 60 / self.n_tokens


def draw_tokens(n_tokens: int, codebook_size: int) -> list[int]:
    """Draw speech tokens at random."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(codebook_size, (n_tokens,), generator=generator).tolist()


def speak(decoder: SpeechDecoder, schedule: BlockSchedule, tokens: list[int]) -> Iterator[Block]:
    """Push a reply block by block, as far as whole blocks go, and time each."""
    first = number = 0
    with decoder.open_stream() as stream:
        while first + schedule.size(number) <= len(tokens):
            last = first + schedule.size(number)
            began_at = time.perf_counter()
            stream.push(tokens[first:last])
            cost_s = time.perf_counter() - began_at
            number += 1
            yield Block(number, last - first, last * 60 / TOKENS_A_MINUTE, cost_s)
            first = last


def compare(blocks: list[Block], early: int, late: int) -> tuple[Cell, ...]:
    """Compare two blocks by number; the last one stands in for one that is not there."""
    chosen = [blocks[min(number, len(blocks)) - 1] for number in (early, late)]
    costs = [round(block.cost_a_second, 4) for block in chosen]
    return (*(block.number for block in chosen), *costs, ratio(*costs))


def side_by_side(ours: list[Block], theirs: list[Block]) -> tuple[tuple[Cell, ...], ...]:
    """Compare each block of the baseline with ours that ends nearest to the same second."""

    def compare_at(their: Block) -> tuple[Cell, ...]:
        our = min(ours, key=lambda block: abs(block.end_s - their.end_s))
        costs = (our.cost_a_second, their.cost_a_second)
        return (their.end_s, *costs, ratio(*costs))

    return tuple(compare_at(their) for their in theirs)


async def measure(parts: Parts, options: Options) -> Report:
    """Speak one long reply with both decoders."""
    decoder = parts.decoder
    sides: dict[str, tuple[SpeechDecoder, BlockSchedule, float]] = {
        "antiphon": (decoder, BlockSchedule(), options.minutes),
        "baseline": (FullHistoryDecoder(decoder), ORIGINAL_BLOCKS, options.baseline_minutes),
    }
    found: dict[str, list[Block]] = {}
    for side, (speaker, schedule, minutes) in sides.items():
        list(speak(speaker, schedule, draw_tokens(40, decoder.codebook_size)))  # warm-up
        n_tokens = max(schedule.size(0), round(minutes * TOKENS_A_MINUTE))
        found[side] = list(speak(speaker, schedule, draw_tokens(n_tokens, decoder.codebook_size)))
    tables = [
        Table(
            "a late block against an early one, seconds a second of speech",
            ("side", "early block", "late block", "early", "late", "late / early"),
            tuple((side, *compare(blocks, EARLY, LATE)) for side, blocks in found.items()),
        )
    ]
    for side, blocks in found.items():
        rows = [(b.number, b.n_tokens, b.end_s, b.cost_s, b.cost_a_second) for b in blocks]
        tables.append(Table(f"blocks of {side}", COLUMNS, tuple(rows)))
    columns = ("ends after s", "antiphon", "baseline", "baseline / antiphon")
    pairs = side_by_side(found["antiphon"], found["baseline"])
    tables.append(Table("at the same second of the reply, s a second of speech", columns, pairs))
    lines = {side: [(b.end_s, b.cost_a_second) for b in blocks] for side, blocks in found.items()}
    figure = Figure("Cost of a block", "second of the reply", "seconds a second of speech", lines)
    return Report(WHAT, tuple(tables), (figure,))
