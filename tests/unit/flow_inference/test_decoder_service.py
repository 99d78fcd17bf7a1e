"""Many threads share a decoder: same sound, errors stay where they belong, nothing hangs."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from antiphon.errors import EngineError, PromptError
from flow_inference import AudioDecoder
from flow_inference.decoder_batch import BatchOptions, DecoderBatch
from flow_inference.decoder_service import DecoderService
from flow_inference.stream import BlockRun

WAIT_S = 60.0


@pytest.fixture(scope="module")
def decoder(tiny_checkpoints: Path) -> AudioDecoder:
    """A tiny decoder with few solver steps."""
    return AudioDecoder.from_pretrained(tiny_checkpoints / "decoder", n_timesteps=2)


@pytest.fixture
def service(decoder: AudioDecoder) -> Iterator[DecoderService]:
    with DecoderService(decoder, BatchOptions(max_frames=2000)) as opened:
        yield opened
    assert "antiphon-decoder" not in {thread.name for thread in threading.enumerate()}


def draw_tokens(n_tokens: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 64, (n_tokens,), generator=generator).tolist()


def speak(decoder: AudioDecoder | DecoderService, n_tokens: int, seed: int) -> Tensor:
    """One reply, 13 tokens at a time."""
    tokens = draw_tokens(n_tokens, seed)
    with decoder.open_stream(seed=seed) as stream:
        parts = [stream.push(tokens[i : i + 13]) for i in range(0, n_tokens, 13)]
        return torch.cat([*parts, stream.flush()])


class Gate:
    """Holds the service's thread before its first batch until all are waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open, self.was_reached = threading.Event(), threading.Event()
        self.sizes: list[int] = []
        decode = DecoderBatch.decode

        def gated(batch: DecoderBatch, group: Sequence[BlockRun]) -> None:
            self.was_reached.set()
            assert self.is_open.wait(WAIT_S)
            self.sizes.append(len(group))
            decode(batch, group)

        monkeypatch.setattr(DecoderBatch, "decode", gated)


def test_replies_at_once_sound_as_alone(decoder: AudioDecoder, service: DecoderService) -> None:
    lengths = [5, 31, 47, 60]
    with ThreadPoolExecutor(len(lengths)) as threads:
        found = list(threads.map(lambda n: speak(service, n, n), lengths, timeout=WAIT_S))
    for n_tokens, waveform in zip(lengths, found, strict=True):
        expected = speak(decoder, n_tokens, n_tokens)
        assert waveform.shape == expected.shape
        assert waveform.numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def test_blocks_that_wait_are_decoded_together(
    service: DecoderService, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    runs = [service.open_stream(seed=seed)._stream.begin_push([1] * 10) for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(service.finish, runs[0])
        assert gate.was_reached.wait(WAIT_S)
        others = [threads.submit(service.finish, run) for run in runs[1:]]
        while len(service._results) < 4:
            threading.Event().wait(0.001)
        gate.is_open.set()
        sounds = [pending.result(WAIT_S) for pending in (first, *others)]
    assert gate.sizes == [1, 3]
    assert len({len(sound) for sound in sounds}) == 1


def test_bad_tokens_are_refused_before_they_join(service: DecoderService) -> None:
    with service.open_stream() as stream:
        with pytest.raises(PromptError, match="out of range"):
            stream.push([1000])
        assert len(stream.push([1] * 10)) > 0


def test_a_failed_batch_is_an_error_and_the_service_goes_on(
    decoder: AudioDecoder, service: DecoderService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(DecoderBatch, "decode", broken)
        with service.open_stream() as stream, pytest.raises(EngineError, match="out of memory"):
            stream.push([1] * 10)
    assert torch.equal(speak(service, 12, 1), speak(decoder, 12, 1))


def test_closing_ends_all_that_wait(decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, service = Gate(monkeypatch), DecoderService(decoder)
    stream = service.open_stream()
    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(stream.push, [1] * 40)
        assert gate.was_reached.wait(WAIT_S)
        closing = threads.submit(service.close)
        while not service._is_closed:
            threading.Event().wait(0.001)
        gate.is_open.set()
        with pytest.raises(EngineError, match="closed while"):
            waiting.result(WAIT_S)
        closing.result(WAIT_S)
    with pytest.raises(EngineError, match="nothing can be decoded"):
        stream.push([1] * 40)
    service.close()


def test_whole_replies_and_flushes_of_nothing(
    decoder: AudioDecoder, service: DecoderService
) -> None:
    assert service.sample_rate == decoder.sample_rate
    assert torch.equal(service.decode([1, 2, 3], seed=4), decoder.decode([1, 2, 3], seed=4))
    with service.open_stream() as stream:
        assert stream.flush().shape == (0,)
        with pytest.raises(EngineError, match="open a new one"):
            stream.push([1])
