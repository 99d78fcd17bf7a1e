"""Random models: the official sizes, and a rhythm that what an engine keeps survives."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import torch

from antiphon.bench.random_model import (
    RhythmEngine,
    WordTokenizer,
    make_decoder,
    make_layout,
    official_shape,
)
from antiphon.dialogue.interleave import AudioToken, InterleaveSplitter, TextToken
from antiphon.engine.base import EngineStats, SamplingParams, TokenChunk
from antiphon.models.glm4voice.language_config import chatglm_to_glm
from antiphon.models.glm4voice.language_model import build_empty_model
from tests.tiny_shape import TINY

LAYOUT = make_layout(TINY)


class Echo:
    """Says 7, 8, 9, ... and notes what it was asked."""

    def __init__(self):
        self.asked = []

    async def generate(self, token_ids, sampling, **names) -> AsyncIterator[TokenChunk]:
        self.asked.append((tuple(token_ids), sampling.stop_token_ids))
        for number in range(sampling.max_new_tokens):
            yield TokenChunk((7 + number,))

    def stats(self):
        return EngineStats(0, 0, 0)


async def collect(engine, prompt, session):
    sampling = SamplingParams(max_new_tokens=50, stop_token_ids=LAYOUT.stop)
    chunks = engine.generate(prompt, sampling, session_id=session)
    return [i async for chunk in chunks for i in chunk.token_ids]


def test_thirteen_of_text_and_twenty_six_of_speech():
    reply = asyncio.run(collect(RhythmEngine(Echo(), LAYOUT), [1, 2], "a"))
    splitter = InterleaveSplitter(LAYOUT)
    kinds = [type(splitter.feed(token_id)) for token_id in reply]
    assert kinds == [TextToken] * 13 + [AudioToken] * 26 + [TextToken] * 11


def test_the_engine_meets_its_own_tokens_again():
    async def test():
        inner = Echo()
        engine = RhythmEngine(inner, LAYOUT)
        reply = await collect(engine, [1, 2], "a")
        await collect(engine, [1, 2, *reply, 3, 4], "a")
        await collect(engine, [1, 2, *reply[:20], 5], "a")
        await collect(engine, [1, 2, *reply, 3], "b")
        said = list(range(7, 57))
        prompts = [list(prompt) for prompt, _ in inner.asked]
        assert prompts[1] == [1, 2, *said, 3, 4]
        assert prompts[2] == [1, 2, *said[:20], 5]
        assert prompts[3] == [1, 2, *reply, 3]  # another session has not said it
        assert {stop for _, stop in inner.asked} == {()}

    asyncio.run(test())


def test_words_become_text():
    tokenizer = WordTokenizer(LAYOUT)
    ids = tokenizer.encode("what is three plus four")
    assert len(ids) == 5
    assert all(0 <= token_id < TINY.n_text for token_id in ids)
    assert ids == tokenizer.encode(" what  is three plus\nfour")
    assert tokenizer.decode(ids).strip()


def test_the_official_shape_has_the_official_sizes():
    shape = official_shape()
    layout = make_layout(shape)
    assert (layout.audio_0, layout.user, layout.context_length) == (152_353, 151_336, 8192)
    language_model = build_empty_model(chatglm_to_glm(shape.language_model, "official"))
    # Facts of the public checkpoints: 9.54 billion; 111.17 and 20.46 million.
    assert round(sum(p.numel() for p in language_model.parameters()) / 1e9, 2) == 9.54
    with torch.device("meta"):
        decoder = make_decoder(replace(shape), torch.device("meta"))
    assert round(sum(p.numel() for p in decoder.flow.parameters()) / 1e6, 2) == 111.17
    assert 20.3 < sum(p.numel() for p in decoder.hift.parameters()) / 1e6 < 20.5
