"""Measures what a bounded past costs the streaming decoder in accuracy and saves in time.

    python benchmarks/decoder_context.py resources/embedded/decoder --codes data/speech

Decodes long replies block by block with several lengths of context and compares mel and speed with
the same blocks under the whole past. Prints one JSON object a line.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from antiphon.training.data import CodeStore
from flow_inference import AudioDecoder, BlockSchedule, StreamOptions
from flow_inference.mel_stream import FlowWindow, MelStream

WHOLE = 10_000
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Blocks:
    """Mel (80, T) of a reply and the seconds that its last block took."""

    mel: Tensor
    last_block_s: float


def decode(
    decoder: AudioDecoder, tokens: list[int], context: int, sizes: tuple[int, ...]
) -> Blocks:
    """Decode a reply block by block."""
    options = StreamOptions(BlockSchedule(sizes), context_tokens=context)
    embedding = torch.zeros(1, decoder.flow.spk_embed_affine_layer.in_features)
    window = FlowWindow(decoder.flow, embedding, decoder.n_timesteps)
    stream = MelStream(window, options, decoder.clock, seed=0)
    found = [*stream.push(tokens[: -sizes[-1]])]
    started = time.process_time()
    found += [*stream.push(tokens[-sizes[-1] :])]
    last_block_s = time.process_time() - started
    return Blocks(torch.cat([*found, stream.flush()], dim=1), last_block_s)


def draw_replies(folder: str, n_replies: int, n_tokens: int) -> list[list[int]]:
    """Join coded answers of the corpus to replies of equal length."""
    answers = [codes for key, codes in CodeStore(folder).load().items() if key.startswith("a")]
    joined = np.concatenate(answers[: n_replies * n_tokens // 8])
    return [
        joined[i * n_tokens : (i + 1) * n_tokens].astype(int).tolist() for i in range(n_replies)
    ]


def main() -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("decoder")
    parser.add_argument("--codes", required=True, help="folder with codes.bin and codes.jsonl")
    parser.add_argument("--replies", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=210)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 20, 30, 50])
    parser.add_argument("--contexts", type=int, nargs="+", default=[0, 20, 50, 100])
    options = parser.parse_args()
    decoder = AudioDecoder.from_pretrained(options.decoder)
    replies = draw_replies(options.codes, options.replies, options.tokens)
    sizes = tuple(options.sizes)
    whole = [decode(decoder, reply, WHOLE, sizes) for reply in replies]
    for context in [*options.contexts, WHOLE]:
        got = [decode(decoder, reply, context, sizes) for reply in replies]
        pairs = list(zip(got, whole, strict=True))
        result = {
            "context_tokens": "whole" if context == WHOLE else context,
            "mel_l1": round(float(np.mean([(a.mel - b.mel).abs().mean() for a, b in pairs])), 4),
            "last_block_cpu_s": round(float(np.mean([a.last_block_s for a in got])), 3),
        }
        sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
