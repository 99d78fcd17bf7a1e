"""The decoder's side of a reply, alone in its thread or sharing a decoder with other replies."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from antiphon.dialogue.events import AudioChunk, TurnDone, TurnFailed
from antiphon.dialogue.session import Session
from antiphon.dialogue.sound import Sound
from antiphon.dialogue.turn_pipeline import TurnOptions, TurnPipeline
from antiphon.errors import EngineError
from cosyvoice.flow.solving import Solving
from flow_inference import AudioDecoder, BatchOptions, DecoderService
from tests.dialogue_fakes import ByteTokenizer, FakeDecoder, FakeEngine, FakeSpeechTokenizer
from tests.tiny_glm import wait_until
from tests.turn_bench import QUESTION, REPLY, SPOKEN, run, sound_of

ENDING = 263


@pytest.fixture(scope="module")
def decoder(tiny_checkpoints: Path) -> AudioDecoder:
    """A tiny decoder with few solver steps."""
    return AudioDecoder.from_pretrained(tiny_checkpoints / "decoder", solving=Solving(2))


@pytest.fixture
def service(decoder: AudioDecoder) -> Iterator[DecoderService]:
    with DecoderService(decoder, BatchOptions(max_frames=5000)) as opened:
        yield opened
    assert not [t.name for t in threading.enumerate() if t.name.startswith("antiphon-")]


@pytest.fixture
def pipeline(service: DecoderService) -> Iterator[TurnPipeline]:
    """A pipeline whose replies share a decoder; always says the same."""
    engine = FakeEngine([*REPLY, ENDING], delay_s=0.001)
    opened = TurnPipeline(engine, ByteTokenizer(), FakeSpeechTokenizer(), service)
    yield opened
    opened.close()


def count_groups(service: DecoderService, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the size of each group that the service decodes."""
    sizes, take_group = [], service._batch.take_group

    def counted():
        group = take_group()
        sizes.append(len(group))
        return group

    monkeypatch.setattr(service._batch, "take_group", counted)
    return sizes


async def ask(pipeline, seed, *, is_cut=False):
    """One turn of an own session; hang up after the first sound if told to."""
    events = []
    stream = pipeline.respond(Session(), QUESTION, TurnOptions(seed=seed))
    async for event in stream:
        events.append(event)
        if is_cut and isinstance(event, AudioChunk):
            await stream.aclose()
            return events
    return events


def alone(decoder, seed):
    with decoder.open_stream(None, seed) as stream:
        return torch.cat([stream.push(SPOKEN), stream.flush()]).numpy()


def test_replies_at_once_share_batches_and_sound_as_alone(decoder, service, pipeline, monkeypatch):
    sizes = count_groups(service, monkeypatch)

    async def scenario():
        return await asyncio.gather(*(ask(pipeline, seed) for seed in range(4)))

    for seed, events in enumerate(run(scenario())):
        assert isinstance(events[-1], TurnDone)
        np.testing.assert_allclose(sound_of(events), alone(decoder, seed), atol=1e-4)
    assert max(sizes) > 1


def test_a_reply_alone_is_decoded_block_by_block(service, pipeline, monkeypatch):
    sizes = count_groups(service, monkeypatch)
    events = run(ask(pipeline, seed=1))
    chunks = [event for event in events if isinstance(event, AudioChunk)]
    assert sizes == [1] * len(chunks) == [1] * 4  # blocks of 10, 10 and 20, the rest at the end
    assert [code for chunk in chunks for code in chunk.speech_tokens] == SPOKEN


def test_hanging_up_leaves_no_work_and_the_others_alone(decoder, service, pipeline):
    async def scenario():
        return await asyncio.gather(*(ask(pipeline, n, is_cut=n % 2 == 0) for n in range(6)))

    found = run(scenario())
    wait_until(lambda: not service._jobs)  # a batch under way is finished and dropped
    assert len(service._batch) == 0
    for seed, events in enumerate(found):
        if seed % 2:
            np.testing.assert_allclose(sound_of(events), alone(decoder, seed), atol=1e-4)


def test_a_reply_that_fails_does_not_touch_the_others(decoder, service, pipeline, monkeypatch):
    open_stream = service.open_stream

    def break_one(voice=None, seed=0, schedule=None):
        stream = open_stream(voice, seed, schedule)
        if seed == 1:
            vocoder = stream._stream._vocoder
            monkeypatch.setattr(vocoder, "take", lambda *_: 1 / 0)
        return stream

    monkeypatch.setattr(service, "open_stream", break_one)

    async def scenario():
        return await asyncio.gather(*(ask(pipeline, seed) for seed in range(3)))

    good, bad, other = run(scenario())
    assert isinstance(bad[-1], TurnFailed)
    assert "failed on this reply" in bad[-1].message
    for seed, events in ((0, good), (2, other)):
        np.testing.assert_allclose(sound_of(events), alone(decoder, seed), atol=1e-4)


def test_a_decoder_that_is_closed_fails_the_reply_in_words(service, pipeline):
    service.close()
    assert "the decoder is closed" in run(ask(pipeline, seed=1))[-1].message


def collect(sound):
    async def scenario():
        await sound.open()
        found = [part async for part in sound.push([1, 2, 3, 4, 5])]
        found += [part async for part in sound.flush()]
        await sound.close()
        return found

    return run(scenario())


def test_a_decoder_that_is_not_shared_runs_in_the_thread():
    decoder = FakeDecoder()
    with ThreadPoolExecutor(1, thread_name_prefix="antiphon-decode") as thread:
        parts = collect(Sound(decoder.open_stream, thread))
    assert [len(part) for part in parts] == [2 * 1764, 3 * 1764]
    assert {name.rsplit("_", 1)[0] for name in decoder.threads} == {"antiphon-decode"}
    assert decoder.n_open == 0


def test_without_a_stream_there_is_no_sound():
    with ThreadPoolExecutor(1) as thread:
        assert collect(Sound(None, thread)) == []


def test_a_wait_that_is_cancelled_cancels_the_block():
    class Stuck:
        """A shared stream whose blocks never come."""

        result: "Future[torch.Tensor]" = Future()

        def submit_push(self, tokens):
            yield self.result

        def submit_flush(self):
            raise EngineError("not to be reached")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    async def scenario(sound):
        await sound.open()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(sound.push([1])), 0.05)
        await sound.close()

    with ThreadPoolExecutor(1) as thread:
        run(scenario(Sound(Stuck, thread)))
    assert Stuck.result.cancelled()
