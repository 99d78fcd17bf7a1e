"""Many threads share a decoder: same sound, errors stay where they belong, nothing hangs."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
import torch
from torch import Tensor

from antiphon.errors import EngineError, PromptError
from cosyvoice.flow.solving import Solving
from flow_inference import AudioDecoder, BlockSchedule, Crowd, decoder_batch
from flow_inference.decoder_batch import BatchOptions, DecoderBatch
from flow_inference.decoder_service import DecoderService
from flow_inference.playhead import Playhead
from flow_inference.stream import BlockRun

WAIT_S = 60.0


@pytest.fixture(scope="module")
def decoder(tiny_checkpoints: Path) -> AudioDecoder:
    """A tiny decoder with few solver steps."""
    return AudioDecoder.from_pretrained(
        tiny_checkpoints / "decoder", solving=Solving(2, contrast=0.3)
    )


@pytest.fixture
def service(decoder: AudioDecoder) -> Iterator[DecoderService]:
    with DecoderService(decoder, BatchOptions(max_frames=2000)) as opened:
        yield opened
    assert not [each for each in threading.enumerate() if each.name.startswith("antiphon-decoder")]


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
        self.groups: list[list[BlockRun]] = []
        decode = DecoderBatch.decode

        def gated(
            batch: DecoderBatch, group: Sequence[BlockRun]
        ) -> Iterator[tuple[BlockRun, Tensor | Exception] | None]:
            self.groups.append(list(group))
            self.was_reached.set()
            assert self.is_open.wait(WAIT_S)
            yield from decode(batch, group)

        monkeypatch.setattr(DecoderBatch, "decode", gated)


def test_replies_at_once_sound_as_alone(decoder: AudioDecoder, service: DecoderService) -> None:
    lengths = [5, 31, 47, 60]
    with ThreadPoolExecutor(len(lengths)) as threads:
        found = list(threads.map(lambda n: speak(service, n, n), lengths, timeout=WAIT_S))
    for n_tokens, waveform in zip(lengths, found, strict=True):
        expected = speak(decoder, n_tokens, n_tokens)
        assert waveform.shape == expected.shape
        assert waveform.numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def begin(service: DecoderService, n_tokens: int) -> BlockRun:
    return service.open_stream()._stream.begin_push([1] * n_tokens)


def heard(now: float) -> Playhead:
    """The playhead of a reply that got a second of sound at `now`."""
    playhead = Playhead(1)
    playhead.note_sound(1, now)
    return playhead


def test_blocks_that_wait_are_decoded_together(
    service: DecoderService, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    runs = [begin(service, 10) for _ in range(4)]
    results = [service.submit(runs[0], Playhead(1))]
    assert gate.was_reached.wait(WAIT_S)
    results += [service.submit(run, Playhead(1)) for run in runs[1:]]
    gate.is_open.set()
    sounds = [result.result(WAIT_S) for result in results]
    assert gate.groups == [runs[:1], runs[1:]]
    assert len({len(sound) for sound in sounds}) == 1


def test_who_runs_dry_goes_first_then_who_was_not_heard_then_the_others(
    decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, now = Gate(monkeypatch), time.monotonic()
    with DecoderService(decoder, BatchOptions(max_frames=1)) as service:
        first, late, soon, new = (begin(service, 10) for _ in range(4))
        results = [service.submit(first, Playhead(1))]
        assert gate.was_reached.wait(WAIT_S)
        results.append(service.submit(late, heard(now + 9)))
        results.append(service.submit(soon, heard(now - 0.9)))
        results.append(service.submit(new, Playhead(1)))
        gate.is_open.set()
        wait(results, WAIT_S)
    assert gate.groups == [[first], [soon], [new], [late]]


def test_a_long_block_makes_way_for_one_that_is_needed_sooner(
    decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, ended = Gate(monkeypatch), []
    with DecoderService(decoder) as service:
        long, new = begin(service, 10), begin(service, 10)
        results = [service.submit(long, heard(time.monotonic() + 9))]
        assert gate.was_reached.wait(WAIT_S)
        results.append(service.submit(new, Playhead(1)))
        for number, result in enumerate(results):
            result.add_done_callback(lambda _, number=number: ended.append(number))
        gate.is_open.set()
        wait(results, WAIT_S)
    assert gate.groups == [[long], [new]]
    assert ended == [1, 0]


def test_threads_share_the_work(decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    met, decode = threading.Barrier(2), DecoderBatch.decode

    def together(
        batch: DecoderBatch, group: Sequence[BlockRun]
    ) -> Iterator[tuple[BlockRun, Tensor | Exception] | None]:
        met.wait(WAIT_S)
        yield from decode(batch, group)

    monkeypatch.setattr(DecoderBatch, "decode", together)
    with DecoderService(decoder, BatchOptions(max_frames=1), n_threads=2) as service:
        runs = [begin(service, 10) for _ in range(2)]
        sounds = [service.submit(run, Playhead(1)) for run in runs]
        assert all(torch.equal(sound.result(WAIT_S), sounds[0].result()) for sound in sounds)


def test_a_reply_that_begins_in_a_crowd_has_larger_blocks(decoder: AudioDecoder) -> None:
    with DecoderService(decoder, crowd=Crowd(2, BlockSchedule((20,)))) as service:
        alone = [service.open_stream() for _ in range(2)]
        crowded = service.open_stream()
        fixed = service.open_stream(schedule=BlockSchedule((10,)))
        tokens = draw_tokens(10, 0)
        assert all(len(stream.push(tokens)) for stream in (*alone, fixed))
        assert len(crowded.push(tokens)) == 0
        assert len(crowded.push(tokens)) > 0
        for stream in (*alone, crowded, fixed):
            stream.close()
            stream.close()
        with service.open_stream() as stream:
            assert len(stream.push(tokens)) > 0


def test_each_block_is_given_out_as_soon_as_it_is_decoded(
    decoder: AudioDecoder, service: DecoderService
) -> None:
    with service.open_stream() as stream:
        sounds = [block.result(WAIT_S) for block in stream.submit_push([1] * 60)]
        assert len(list(stream.submit_push([]))) == 0
    assert len(sounds) == 3
    with decoder.open_stream() as alone:
        assert torch.equal(torch.cat(sounds), alone.push([1] * 60))


def test_a_stream_that_is_closed_leaves_no_work(
    service: DecoderService, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    streams = [service.open_stream() for _ in range(3)]
    results = [next(streams[0].submit_push([1] * 10))]
    assert gate.was_reached.wait(WAIT_S)
    results += [next(stream.submit_push([1] * 10)) for stream in streams[1:]]
    streams[1].close()
    assert results[1].cancelled()
    gate.is_open.set()
    assert len(results[2].result(WAIT_S)) > 0
    assert [len(group) for group in gate.groups] == [1, 1]
    assert service._jobs == {}


def test_closing_a_stream_wakes_whoever_waits_for_it(
    service: DecoderService, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, stream = Gate(monkeypatch), service.open_stream()
    busy = service.submit(begin(service, 10), Playhead(1))
    assert gate.was_reached.wait(WAIT_S)
    with ThreadPoolExecutor(1) as threads:
        pushing = threads.submit(stream.push, [1] * 10)
        while stream._result is None:
            threading.Event().wait(0.001)
        stream.close()
        with pytest.raises(EngineError, match="closed while"):
            pushing.result(WAIT_S)
    gate.is_open.set()
    busy.result(WAIT_S)


def test_a_thread_that_dies_ends_all_that_wait(
    decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: DecoderBatch) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(DecoderBatch, "take_group", broken)
    service = DecoderService(decoder)
    with service.open_stream() as stream, pytest.raises(EngineError, match="a bug"):
        stream.push([1] * 10)
    with service.open_stream() as stream, pytest.raises(EngineError, match="nothing can be"):
        stream.push([1] * 10)
    service.close()


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
        patch.setattr(decoder_batch, "solve_windows", broken)
        with service.open_stream() as stream, pytest.raises(EngineError, match="out of memory"):
            stream.push([1] * 10)
    assert torch.equal(speak(service, 12, 1), speak(decoder, 12, 1))


def test_closing_ends_all_that_wait(decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, service = Gate(monkeypatch), DecoderService(decoder)
    stream = service.open_stream()
    with ThreadPoolExecutor(2) as threads:
        under_way = threads.submit(stream.push, [1] * 40)
        assert gate.was_reached.wait(WAIT_S)
        waiting = service.submit(begin(service, 10), Playhead(1))
        closing = threads.submit(service.close)
        while not service._is_closed:
            threading.Event().wait(0.001)
        gate.is_open.set()
        with pytest.raises(EngineError, match="closed while"):
            waiting.result(WAIT_S)
        with pytest.raises(EngineError, match="closed"):
            under_way.result(WAIT_S)  # its second block
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


def test_the_thread_is_set_up_before_it_decodes(decoder: AudioDecoder) -> None:
    names: list[str] = []
    with DecoderService(
        decoder, begin=lambda: names.append(threading.current_thread().name)
    ) as service:
        service.open_stream().push([1] * 10)
    assert names == ["antiphon-decoder-0"]


def test_what_the_thread_needs_is_missing(
    decoder: AudioDecoder, caplog: pytest.LogCaptureFixture
) -> None:
    def begin() -> None:
        raise RuntimeError("no such core")

    with DecoderService(decoder, begin=begin) as service:
        stream = service.open_stream()
        with pytest.raises(EngineError, match=r"no such core|closed"):
            stream.push([1] * 10)
    assert "no such core" in caplog.text
