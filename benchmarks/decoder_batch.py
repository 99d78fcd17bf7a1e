"""Measures what it saves to decode blocks of many replies as one batch.

    python benchmarks/decoder_batch.py resources/embedded/decoder

Prints one JSON object a line: seconds a block (mel only, by the clock and of the CPU) by length of
the blocks and size of the batch.
"""

import argparse
import json
import sys
import time

import torch

from flow_inference import AudioDecoder
from flow_inference.flow_window import Window, decode_windows


def draw_window(decoder: AudioDecoder, n_tokens: int, n_prompt: int) -> Window:
    """A window of random tokens, the first `n_prompt` of them known."""
    n_frames = decoder.clock.frames(n_tokens)
    return Window(
        torch.randint(0, decoder.codebook_size, (n_tokens,)).tolist(),
        n_frames,
        torch.zeros(80, decoder.clock.frames(n_prompt)),
        torch.randn(80, n_frames),
    )


def measure(decoder: AudioDecoder, windows: list[Window]) -> dict[str, float]:
    """Decode twice; take the seconds of the second time."""
    size = decoder.flow.spk_embed_affine_layer.in_features
    speakers = torch.zeros(len(windows), size, device=decoder.device)
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        decode_windows(decoder.flow, windows, speakers, decoder.n_timesteps)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "wall_s_a_block": round(wall / len(windows), 4),
        "cpu_s_a_block": round(cpu / len(windows), 4),
    }


def main() -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("decoder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, nargs="+", default=[10, 30, 100])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    options = parser.parse_args()
    decoder = AudioDecoder.from_pretrained(options.decoder, options.device)
    for n_tokens in options.tokens:
        for n_windows in options.batches:
            windows = [draw_window(decoder, n_tokens, n_tokens // 2) for _ in range(n_windows)]
            result = {"tokens": n_tokens, "batch": n_windows} | measure(decoder, windows)
            sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
