"""A random GlmForCausalLM of a few thousand weights, and what engine tests need around it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import torch
from transformers import GlmConfig, GlmForCausalLM

from antiphon.engine.base import SamplingParams, TokenChunk
from antiphon.engine.local_engine import LocalEngine
from antiphon.engine.quantization import load_arguments, quantize_linear

VOCAB_SIZE = 300
CONTEXT_LENGTH = 256
GREEDY = SamplingParams(temperature=0.0, top_p=1.0, max_new_tokens=20)


def make_tiny_glm(seed: int = 0) -> GlmForCausalLM:
    """Build a random model whose greedy replies do not repeat one token."""
    config = GlmConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        attention_bias=True,
        max_position_embeddings=CONTEXT_LENGTH,
        pad_token_id=0,
        eos_token_id=[0],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GlmForCausalLM(config)
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                torch.nn.init.normal_(parameter, std=1.0 if "embed" in name else 0.35)
    return model.eval()


def make_engine(
    max_concurrent: int = 4, max_queue: int = 8, attention: str = "auto", device: str = "cpu"
) -> LocalEngine:
    """Build an engine on the tiny model; close it after use."""
    return LocalEngine(
        make_tiny_glm().to(device),
        vocab_size=VOCAB_SIZE,
        context_length=CONTEXT_LENGTH,
        max_concurrent=max_concurrent,
        max_queue=max_queue,
        attention=attention,
    )


def make_small_glm(dtype: str, device: str = "cpu") -> GlmForCausalLM:
    """Build a random model in any number format; its rows are whole blocks, as int4 needs."""
    arguments = load_arguments(dtype)
    config = GlmConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        attention_bias=True,
        max_position_embeddings=CONTEXT_LENGTH,
        pad_token_id=0,
        eos_token_id=[0],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = GlmForCausalLM(config).to(arguments.torch_dtype).to(device)
    if arguments.quantization is not None:
        for layer in model.model.layers:
            for module in (layer.self_attn, layer.mlp):
                for name, child in module.named_children():
                    if isinstance(child, torch.nn.Linear):
                        weight = child.weight.data
                        setattr(module, name, quantize_linear(child, weight, arguments, device))
    return model.requires_grad_(False).eval()


async def say_twice(model: GlmForCausalLM, attention: str = "auto") -> None:
    """Let a model answer in company, twice; both times it must say the same."""
    engine = LocalEngine(
        model, vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH, attention=attention
    )
    sampling = SamplingParams(temperature=1.0, top_p=0.9, seed=1, max_new_tokens=15)
    requests = [([1, 2, 3 + number], sampling) for number in range(4)]
    try:
        replies = [
            await asyncio.gather(*(collect(engine.generate(*each)) for each in requests))
            for _ in range(2)
        ]
    finally:
        await engine.close()
    assert replies[0] == replies[1]
    assert [len(ids) for ids, _ in replies[0]] == [15] * 4


async def collect(stream: AsyncIterator[TokenChunk]) -> tuple[list[int], str | None]:
    """Read a stream to its end; return its ids and finish reason."""
    ids: list[int] = []
    reason = None
    async for chunk in stream:
        assert reason is None, "a chunk came after the last one"
        ids.extend(chunk.token_ids)
        reason = chunk.finish_reason
    return ids, reason


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait for a condition that another thread brings about."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)
