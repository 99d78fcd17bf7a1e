"""Measures what is left to compute when a person stops speaking, and how often settled ids change.

    python benchmarks/hearing.py resources/embedded/tokenizer clips/*.wav

Pushes each clip in pieces of 20 ms. Prints one JSON object: CPU milliseconds of `finish` and of
`encode` over the whole clip, CPU seconds a second of sound while hearing, and the share of settled
ids that a later, louder sound changed.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean

import torch
from torch import Tensor

from antiphon.audio import read_audio
from speech_tokenizer import SpeechTokenizer

RATE = 16_000
PIECE = RATE // 50


@dataclass(frozen=True)
class Heard:
    """One clip: CPU seconds of three kinds, and what became of its settled ids."""

    duration_s: float
    hearing_s: float
    finish_s: float
    encode_s: float
    n_settled: int
    n_changed: int


def timed(call: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """Call; give the result and the CPU seconds it took."""
    started = time.process_time()
    return call(), time.process_time() - started


def hear(tokenizer: SpeechTokenizer, clip: str) -> Heard:
    """Push one clip of at most 30 s."""
    waveform = torch.from_numpy(read_audio(clip, RATE))
    first_settled: list[int] = []
    hearing_s = 0.0
    with tokenizer.open_stream(RATE) as stream:
        for piece in waveform.split(PIECE):
            hearing_s += timed(lambda piece=piece: stream.push(piece))[1]
            first_settled += stream.settled[len(first_settled) :].tolist()
        ids, finish_s = timed(stream.finish)
    whole, encode_s = timed(lambda: tokenizer.encode(waveform, RATE))
    if not torch.equal(ids, whole):
        raise SystemExit(f"{clip}: the ids heard are not those of the whole clip")
    n_changed = sum(a != b for a, b in zip(first_settled, ids.tolist(), strict=False))
    duration_s = len(waveform) / RATE
    return Heard(duration_s, hearing_s, finish_s, encode_s, len(first_settled), n_changed)


def main() -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer")
    parser.add_argument("clips", nargs="+")
    options = parser.parse_args()
    tokenizer = SpeechTokenizer.from_pretrained(options.tokenizer)
    hear(tokenizer, options.clips[0])  # the first calls are slow
    clips = [hear(tokenizer, clip) for clip in options.clips]
    seconds = sum(clip.duration_s for clip in clips)
    result = {
        "clips": len(clips),
        "mean_duration_s": round(seconds / len(clips), 2),
        "finish_cpu_ms": round(1e3 * mean(clip.finish_s for clip in clips), 1),
        "encode_cpu_ms": round(1e3 * mean(clip.encode_s for clip in clips), 1),
        "hearing_cpu_s_per_s": round(sum(clip.hearing_s for clip in clips) / seconds, 4),
        "settled_ids": sum(clip.n_settled for clip in clips),
        "settled_ids_changed": sum(clip.n_changed for clip in clips),
        "clips_with_a_change": sum(clip.n_changed > 0 for clip in clips),
    }
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
