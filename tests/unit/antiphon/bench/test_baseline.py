"""The baseline: ids of the model, one request at a time, and the original's blocks of sound."""

import asyncio
from dataclasses import replace

import pytest
import torch
from torch import nn

from antiphon.bench.baseline import (
    ORIGINAL_BLOCKS,
    FullHistoryDecoder,
    LockedEngine,
    TwoPasses,
    in_two_passes,
)
from antiphon.bench.random_model import make_decoder
from cosyvoice.flow.solving import Solving
from flow_inference.flow_window import Window, decode_windows
from flow_inference.original_stream import OriginalStream
from tests.engine_bench import greedy_by_hand, random_prompt
from tests.tiny_glm import GREEDY, make_tiny_glm
from tests.tiny_shape import TINY


@pytest.fixture(scope="module")
def decoder():
    return make_decoder(TINY, torch.device("cpu"))


def run(test):
    async def limited():
        engine = LockedEngine(make_tiny_glm())
        try:
            await asyncio.wait_for(test(engine), 60)
            assert engine.stats().running == engine.stats().waiting == 0
        finally:
            await engine.close()

    asyncio.run(limited())


async def ids_of(engine, prompt, sampling=GREEDY):
    return [i async for chunk in engine.generate(prompt, sampling) for i in chunk.token_ids]


def test_greedy_ids_are_the_models():
    prompt = random_prompt(1)
    expected = greedy_by_hand(prompt, 20)

    async def test(engine):
        assert await ids_of(engine, prompt) == expected
        stop = replace(GREEDY, stop_token_ids=(expected[5],))
        assert await ids_of(engine, prompt, stop) == expected[: expected.index(expected[5]) + 1]

    run(test)


def test_requests_wait_for_each_other():
    order = []

    async def test(engine):
        async def ask(name):
            async for _ in engine.generate(random_prompt(1), GREEDY):
                order.append(name)

        await asyncio.gather(ask("a"), ask("b"))

    run(test)
    assert order == ["a"] * 20 + ["b"] * 20


def test_an_early_end_frees_the_lock():
    async def test(engine):
        chunks = engine.generate(random_prompt(1), replace(GREEDY, max_new_tokens=200))
        await anext(chunks)
        await chunks.aclose()
        assert len(await ids_of(engine, random_prompt(1))) == 20

    run(test)


def test_an_error_of_the_model_reaches_the_reader():
    async def test(engine):
        with pytest.raises(IndexError):
            await ids_of(engine, [10_000])

    run(test)


def test_two_passes_give_the_same_mel(decoder):
    calls = []

    class Counting(nn.Module):
        def __init__(self, estimator):
            super().__init__()
            self.estimator = estimator

        def forward(self, x, *others):
            calls.append(len(x))
            return self.estimator(x, *others)

    flow = in_two_passes(decoder.flow)
    assert isinstance(flow.decoder.estimator, TwoPasses)
    assert not isinstance(decoder.flow.decoder.estimator, TwoPasses)
    flow.decoder.estimator.estimator = Counting(decoder.flow.decoder.estimator)
    window = Window([1, 2, 3, 4], decoder.clock.frames(4), torch.zeros(80, 0), torch.randn(80, 27))
    given = [window], torch.zeros(1, 192), Solving(3)
    batched, separate = (decode_windows(each, *given)[0] for each in (decoder.flow, flow))
    torch.testing.assert_close(separate, batched, atol=1e-4, rtol=1e-4)
    assert calls == [1] * 6


def test_blocks_are_the_originals(decoder):
    tokens = [number % 64 for number in range(80)]
    stream = FullHistoryDecoder(decoder).open_stream()
    assert ORIGINAL_BLOCKS.size(0) == 25
    pushed = [len(stream.push([token])) for token in tokens]
    assert [n for n, length in enumerate(pushed, start=1) if length] == [25, 75]
    n_last = len(stream.flush())
    original = OriginalStream(decoder.flow, decoder.hift)
    lengths, first = [], 0
    for last in (25, 75, 80):
        noise = torch.zeros(1, 80, decoder.clock.frames(last))
        chunk = original.push(torch.tensor([tokens[first:last]]), noise, last == 80)
        lengths.append(chunk.speech.shape[1])
        first = last
    assert [pushed[24], pushed[74], n_last] == lengths
    assert len(stream.flush()) == 0
