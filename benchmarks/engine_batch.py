"""Tokens a second of the engine with many replies at once, beside one request after another.

    python benchmarks/engine_batch.py resources/embedded/lm

The baseline is transformers' `generate`, one request at a time, as the original's server ran it.
Prompts are random; every reply has the same length and none may end early.
"""

import argparse
import asyncio
import json
import random
import statistics
import time
from pathlib import Path

import torch
from transformers import GlmForCausalLM

from antiphon.engine.base import SamplingParams
from antiphon.engine.local_engine import LocalEngine
from antiphon.evaluation.report import describe_machine
from antiphon.models.glm4voice.language_model import load_language_model
from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer

N_PROMPT, N_NEW = 100, 128


def draw_prompts(n: int, vocab_size: int) -> list[list[int]]:
    """Draw prompts of random ids."""
    rng = random.Random(1)
    return [[rng.randrange(vocab_size) for _ in range(N_PROMPT)] for _ in range(n)]


def baseline(model: GlmForCausalLM, prompts: list[list[int]]) -> float:
    """Answer one prompt after another; tokens a second, prompts included in the time."""
    began = time.perf_counter()
    for prompt in prompts:
        with torch.inference_mode():
            model.generate(  # type: ignore[misc]
                torch.tensor([prompt]),
                min_new_tokens=N_NEW,
                max_new_tokens=N_NEW,
                do_sample=True,
                temperature=0.2,
                top_p=0.8,
                pad_token_id=0,
            )
    return len(prompts) * N_NEW / (time.perf_counter() - began)


async def batched(engine: LocalEngine, prompts: list[list[int]]) -> float:
    """Answer all prompts at once; tokens a second, prompts included in the time."""
    sampling = SamplingParams(temperature=0.2, top_p=0.8, seed=1, max_new_tokens=N_NEW)

    async def answer(prompt: list[int]) -> int:
        chunks = [chunk async for chunk in engine.generate(prompt, sampling)]
        return sum(len(chunk.token_ids) for chunk in chunks)

    began = time.perf_counter()
    counts = await asyncio.gather(*(answer(prompt) for prompt in prompts))
    assert counts == [N_NEW] * len(prompts)
    return sum(counts) / (time.perf_counter() - began)


async def measure(folder: Path, streams: list[int], rounds: int) -> dict[str, float]:
    """Median tokens a second of each setting; they take turns, so that all see one machine."""
    layout = GlmTextTokenizer.from_pretrained(folder).layout
    one_by_one = load_language_model(str(folder), "float32", "cpu", progress=False)
    engine = LocalEngine(
        load_language_model(str(folder), "float32", "cpu", progress=False),
        vocab_size=layout.vocab_size,
        context_length=layout.context_length,
        max_concurrent=max(streams),
    )
    prompts = draw_prompts(max(streams), layout.vocab_size)
    found: dict[str, list[float]] = {}
    try:
        for _ in range(rounds):
            found.setdefault("baseline", []).append(baseline(one_by_one, prompts[:2]))
            for n in streams:
                found.setdefault(str(n), []).append(await batched(engine, prompts[:n]))
    finally:
        await engine.close()
    return {name: round(statistics.median(values), 1) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of a language model")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/engine_batch.json"))
    options = parser.parse_args()
    speeds = asyncio.run(measure(options.model, options.streams, options.rounds))
    report = {
        "what": f"tokens a second; prompts of {N_PROMPT}, replies of {N_NEW} tokens, both timed",
        "command": f"python benchmarks/engine_batch.py {options.model}",
        "machine": describe_machine(),
        "tokens_a_second": speeds,
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(speeds))


if __name__ == "__main__":
    main()
