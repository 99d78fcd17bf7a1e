"""What a block of sound costs: many replies in one batch, and how much of the past it sees."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

import torch
from torch import Tensor

from antiphon.bench.baseline import in_two_passes
from antiphon.bench.options import option
from antiphon.bench.parts import CLIP_RATE, Parts
from antiphon.bench.report import Cell, Figure, Report, Table, ratio
from cosyvoice.flow.flow import MaskedDiffWithXvec
from cosyvoice.flow.solving import DTYPES, Solving
from flow_inference import AudioDecoder, BlockSchedule, StreamOptions
from flow_inference.flow_window import Window, decode_windows
from flow_inference.mel_stream import FlowWindow, MelStream

WHOLE = 100_000
"""A context longer than any reply."""

WHAT = (
    "Seconds a block, mel only. Batches: windows of random tokens, half of each known; the "
    "baseline runs one after another, 10 steps, guidance in a pass of its own. Context: replies "
    "made of the speech tokens of the questions, against the same blocks with the whole past; L1 "
    "is of the log-mel."
)
BATCH_COLUMNS = ("tokens", "batch", "antiphon", "one at a time", "baseline", "baseline / antiphon")
FORMAT_COLUMNS = ("number format", "batch", "seconds a block", "mel L1", "float32 / this")
FORMAT_TOKENS = 30
CONTEXT_COLUMNS = ("context tokens", "mel L1", "last block s", "whole past / this")


@dataclass(frozen=True)
class Options:
    """Sizes to go through."""

    tokens: tuple[int, ...] = option((10, 30, 100), "tokens of a window")
    batches: tuple[int, ...] = option((1, 2, 4, 8), "windows in a batch")
    rounds: int = option(3, "times each is measured; the fastest counts")
    contexts: tuple[int, ...] = option((10, 20, 50, 100), "tokens of the past that blocks see")
    reply_tokens: int = option(160, "tokens of the replies for the contexts")
    replies: int = option(4, "number of these replies")


@dataclass(frozen=True)
class BatchCost:
    """Seconds a block: in a batch, one window after another, and as the original does."""

    together_s: float
    alone_s: float
    baseline_s: float


@dataclass(frozen=True)
class Spoken:
    """Mel (80, T) of a reply and the seconds that its last block took."""

    mel: Tensor
    last_block_s: float


def fastest(call: Callable[[], object], rounds: int) -> float:
    """Call once unmeasured, then a few times; give the seconds of the fastest."""
    call()
    found = []
    for _ in range(rounds):
        began_at = time.perf_counter()
        call()
        found.append(time.perf_counter() - began_at)
    return min(found)


def draw_window(decoder: AudioDecoder, n_tokens: int, seed: int) -> Window:
    """A window of random tokens, the first half of them known."""
    generator = torch.Generator().manual_seed(seed)
    n_frames = decoder.clock.frames(n_tokens)
    return Window(
        torch.randint(decoder.codebook_size, (n_tokens,), generator=generator).tolist(),
        n_frames,
        torch.zeros(80, decoder.clock.frames(n_tokens // 2)),
        torch.randn(80, n_frames, generator=generator),
    )


def speaker_of(decoder: AudioDecoder, n: int) -> Tensor:
    """Speaker vectors of the only voice, (n, D)."""
    return torch.zeros(n, decoder.flow.spk_embed_affine_layer.in_features, device=decoder.device)


def batch_cost(decoder: AudioDecoder, n_tokens: int, n_windows: int, rounds: int) -> BatchCost:
    """Decode as many windows in three ways."""
    windows = [draw_window(decoder, n_tokens, seed) for seed in range(n_windows)]
    solving, slow = decoder.solving, in_two_passes(decoder.flow)

    def one_by_one(flow: MaskedDiffWithXvec, solving: Solving) -> None:
        for window in windows:
            decode_windows(flow, [window], speaker_of(decoder, 1), solving)

    speakers = speaker_of(decoder, n_windows)
    costs = [
        fastest(lambda: decode_windows(decoder.flow, windows, speakers, solving), rounds),
        fastest(lambda: one_by_one(decoder.flow, solving), rounds),
        fastest(lambda: one_by_one(slow, Solving()), rounds),
    ]
    return BatchCost(*(cost / n_windows for cost in costs))


def speak(decoder: AudioDecoder, tokens: list[int], context: int) -> Spoken:
    """Decode a reply with the default blocks; its last block is one of the largest."""
    options = StreamOptions(BlockSchedule(), context_tokens=context)
    window = FlowWindow(decoder.flow, speaker_of(decoder, 1), decoder.solving)
    stream = MelStream(window, options, decoder.clock, seed=0)
    n_last = min(len(tokens) // 2, options.schedule.sizes[-1])
    found = [*stream.push(tokens[:-n_last])]
    began_at = time.perf_counter()
    found += [*stream.push(tokens[-n_last:])]
    last_block_s = time.perf_counter() - began_at
    return Spoken(torch.cat([*found, stream.flush()], dim=1), last_block_s)


def join_replies(parts: Parts, n_replies: int, n_tokens: int) -> list[list[int]]:
    """Cut the questions' speech tokens, over and over, into replies of one length."""
    heard = [parts.bundle.speech_tokenizer.encode(clip, CLIP_RATE).tolist() for clip in parts.clips]
    codes = [code for clip in heard for code in clip]
    endless = codes * (n_replies * n_tokens // len(codes) + 1)
    return [endless[i * n_tokens : (i + 1) * n_tokens] for i in range(n_replies)]


def context_rows(parts: Parts, options: Options) -> list[tuple[Cell, ...]]:
    """Compare all contexts with the whole past."""
    decoder = parts.decoder
    replies = join_replies(parts, options.replies, options.reply_tokens)
    speak(decoder, replies[0], WHOLE)  # warm-up
    whole = [speak(decoder, reply, WHOLE) for reply in replies]
    whole_s = fmean(each.last_block_s for each in whole)
    rows: list[tuple[Cell, ...]] = []
    for context in options.contexts:
        got = [speak(decoder, reply, context) for reply in replies]
        pairs = zip(got, whole, strict=True)
        error = fmean(float((a.mel - b.mel).abs().mean()) for a, b in pairs)
        cost_s = fmean(each.last_block_s for each in got)
        rows.append((context, round(error, 4), cost_s, ratio(cost_s, whole_s)))
    return [*rows, ("whole", 0.0, whole_s, 1.0)]


def batch_rows(parts: Parts, options: Options) -> list[tuple[Cell, ...]]:
    """Measure all batches."""
    rows: list[tuple[Cell, ...]] = []
    for n_tokens in options.tokens:
        for n_windows in options.batches:
            cost = batch_cost(parts.decoder, n_tokens, n_windows, options.rounds)
            speedup = ratio(cost.together_s, cost.baseline_s)
            rows.append((n_tokens, n_windows, *vars(cost).values(), speedup))
    return rows


def format_rows(parts: Parts, options: Options) -> list[tuple[Cell, ...]]:
    """Measure the number formats that the flow can be solved in, against the first."""
    decoder, n_windows = parts.decoder, options.batches[-1]
    windows = [draw_window(decoder, FORMAT_TOKENS, seed) for seed in range(n_windows)]
    speakers = speaker_of(decoder, n_windows)
    rows: list[tuple[Cell, ...]] = []
    exact: list[Tensor] = []
    exact_s = 0.0
    for dtype in DTYPES:
        solving = replace(decoder.solving, dtype=dtype)
        solve = partial(decode_windows, decoder.flow, windows, speakers, solving)
        cost_s, mels = fastest(solve, options.rounds) / n_windows, solve()
        exact, exact_s = exact or mels, exact_s or cost_s
        error = fmean(float((a - b).abs().mean()) for a, b in zip(mels, exact, strict=True))
        rows.append((dtype, n_windows, cost_s, round(error, 4), ratio(cost_s, exact_s)))
    return rows


def lines_of(rows: Sequence[tuple[Cell, ...]]) -> dict[str, list[tuple[float, float]]]:
    """Draw the batched cost over the size of the batch."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for n_tokens, n_windows, together_s, *_ in rows:
        assert isinstance(n_windows, int)
        assert isinstance(together_s, float)
        lines.setdefault(f"{n_tokens} tokens", []).append((n_windows, together_s))
    return lines


async def measure(parts: Parts, options: Options) -> Report:
    """Go through batches and contexts."""
    batches, contexts = batch_rows(parts, options), context_rows(parts, options)
    figure = Figure("Blocks in a batch", "windows in a batch", "seconds a block", lines_of(batches))
    return Report(
        WHAT,
        (
            Table("batches, seconds a block", BATCH_COLUMNS, tuple(batches)),
            Table("context", CONTEXT_COLUMNS, tuple(contexts)),
            Table("number formats", FORMAT_COLUMNS, tuple(format_rows(parts, options))),
        ),
        (figure,),
    )
