"""Sound in pieces on its way to the pipeline."""

import asyncio

import numpy as np

from antiphon.dialogue.speech_input import SpeechInput
from tests.turn_bench import run


def piece(value):
    return np.full(3, value, np.float32)


async def read(source):
    return [float(samples[0]) async for samples in source]


def test_pieces_come_in_order_and_then_the_end():
    async def scenario():
        source = SpeechInput()
        reading = asyncio.create_task(read(source))
        for value in (1, 2):
            source.push(piece(value))
            await asyncio.sleep(0)
        source.push(piece(3))
        source.end()
        source.end()
        source.push(piece(4))
        assert await reading == [1, 2, 3]
        assert await read(source) == []

    run(scenario())


def test_a_closed_input_holds_nothing():
    async def scenario():
        source = SpeechInput()
        source.push(piece(1))
        await source.aclose()
        source.push(piece(2))
        assert await read(source) == []

    run(scenario())
