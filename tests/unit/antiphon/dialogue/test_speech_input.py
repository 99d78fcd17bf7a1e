"""Sound in pieces on its way to the pipeline."""

import asyncio

import numpy as np
import pytest
import torch

from antiphon.dialogue.speech_input import MAX_WAITING_SAMPLES, SpeechInput
from antiphon.errors import AudioError, ConfigError
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


def test_pushing_far_ahead_is_refused_and_the_input_goes_on():
    async def scenario():
        source = SpeechInput(max_waiting=7)
        source.push(piece(1))
        source.push(torch.full((3,), 2.0))
        with pytest.raises(AudioError, match="9 samples would wait to be heard, more than 7"):
            source.push(piece(3))
        await anext(source)
        source.push(piece(4))
        with pytest.raises(AudioError, match="push sound as it is recorded"):
            source.push(piece(5))
        source.end()
        assert await read(source) == [2, 4]

    run(scenario())


def test_ten_minutes_may_wait_but_no_more():
    source = SpeechInput()
    minute = np.zeros(60 * 48_000, np.float32)
    for _ in range(10):
        source.push(minute)
    with pytest.raises(AudioError, match=f"more than {MAX_WAITING_SAMPLES:,}"):
        source.push(minute[:1])


def test_pieces_of_nothing_are_bounded_too():
    source = SpeechInput(max_waiting=2)
    source.push(piece(0)[:0])
    source.push(piece(0)[:0])
    with pytest.raises(AudioError):
        source.push(piece(0)[:0])


def test_a_closed_input_takes_and_counts_nothing():
    async def scenario():
        source = SpeechInput(max_waiting=3)
        source.push(piece(1))
        await source.aclose()
        source.push(piece(2))
        assert await read(source) == []

    run(scenario())


def test_an_input_that_takes_nothing_is_refused():
    with pytest.raises(ConfigError, match="at least 1 sample, got 0"):
        SpeechInput(max_waiting=0)
