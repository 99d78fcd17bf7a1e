"""A turn pipeline on stand-ins, and what its tests need around it."""

import asyncio
from dataclasses import dataclass, field

import numpy as np

from antiphon.dialogue.events import AudioChunk, TextDelta
from antiphon.dialogue.session import Session, UserTurn
from antiphon.dialogue.turn_pipeline import TurnPipeline
from antiphon.models.base import TokenLayout
from tests.dialogue_fakes import (
    LAYOUT,
    SAMPLES_PER_TOKEN,
    ByteTokenizer,
    FakeDecoder,
    FakeEngine,
    FakeSpeechTokenizer,
    audio_ids,
)

TEXT = "It is twenty nine today."
REPLY = [*TEXT[:13].encode(), *audio_ids(*range(26)), *TEXT[13:].encode(), *audio_ids(*range(30))]
SPOKEN = [*range(26), *range(30)]
QUESTION = UserTurn(text="What is it?")


@dataclass
class Bench:
    """A pipeline and its stand-ins."""

    engine: FakeEngine
    decoder: FakeDecoder = field(default_factory=FakeDecoder)
    listener: FakeSpeechTokenizer = field(default_factory=FakeSpeechTokenizer)
    session: Session = field(default_factory=Session)
    layout: TokenLayout = LAYOUT

    def __post_init__(self):
        self.pipeline = TurnPipeline(
            self.engine, ByteTokenizer(self.layout), self.listener, self.decoder
        )

    async def ask(self, user_turn=QUESTION, options=None):
        return [event async for event in self.pipeline.respond(self.session, user_turn, options)]

    def assert_all_free(self):
        assert self.engine.n_open == 0
        assert self.decoder.n_open == 0
        assert not self.session.is_answering


def run(coroutine):
    """Run with a limit, so that a hang is a failure; no task may be left behind."""

    async def limited():
        result = await asyncio.wait_for(coroutine, timeout=10)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    return asyncio.run(limited())


def sound_of(events):
    return np.concatenate(
        [np.zeros(0, np.float32), *(e.waveform for e in events if isinstance(e, AudioChunk))]
    )


def text_of(events):
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def expected_sound(codes):
    return np.repeat(np.array(codes, np.float32) / 100, SAMPLES_PER_TOKEN)
