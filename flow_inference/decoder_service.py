"""One decoder for many replies: a thread that decodes whatever blocks wait, many at a time."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from antiphon.errors import AntiphonError, EngineError
from flow_inference.audio_decoder import AudioDecoder
from flow_inference.block_schedule import BlockSchedule, StreamOptions
from flow_inference.decoder_batch import BatchOptions, DecoderBatch
from flow_inference.playhead import Playhead
from flow_inference.stream import BlockRun, DecoderStream

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Job:
    """One block that somebody waits for.

    Attributes:
        run: The push or flush it belongs to.
        playhead: Of the reply's listener.
        deadline: When it is needed, on the monotonic clock.
        result: Gets its samples, (n,) float32; cancelled, it is not decoded.
    """

    run: BlockRun
    playhead: Playhead
    deadline: float
    result: "Future[Tensor]" = field(default_factory=Future)


class DecoderService:
    """Opens streams that share a decoder; each gives exactly what it would give alone.

    A block waits for nothing but the batch that is being decoded. Replies that have not been heard
    yet go first, then those whose sound runs out soonest (`playhead.py`). Close the service at the
    end, or use it as a context manager.

    Args:
        decoder: Holds the weights.
        options: How blocks are grouped.
        begin: Called first in the thread, to set what belongs to a thread.
    """

    def __init__(
        self,
        decoder: AudioDecoder,
        options: BatchOptions | None = None,
        begin: Callable[[], None] | None = None,
    ) -> None:
        self._begin = begin
        self.sample_rate = decoder.sample_rate
        self._decoder = decoder
        self._batch = DecoderBatch(decoder, options)
        self._arrived: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._jobs: dict[BlockRun, Job] = {}  # touched by the thread only
        self._lock = threading.Lock()  # guards _is_closed; nothing arrives once it is True
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="antiphon-decoder", daemon=True)
        self._thread.start()

    def decode(
        self, tokens: Sequence[int] | Tensor, voice: str | None = None, seed: int = 0
    ) -> Tensor:
        """Turn the tokens of a whole reply into sound; see `AudioDecoder.decode`."""
        return self._decoder.decode(tokens, voice, seed)

    def open_stream(
        self,
        voice: str | None = None,
        seed: int = 0,
        schedule: BlockSchedule | StreamOptions | None = None,
    ) -> "SharedStream":
        """Open the state of one reply; see `AudioDecoder.open_stream`."""
        stream = self._decoder.open_stream(voice, seed, schedule)
        return SharedStream(stream, Playhead(self.sample_rate), self)

    def close(self) -> None:
        """End the thread after the batch under way; blocks that still wait get an EngineError."""
        with self._lock:
            self._is_closed = True
            self._arrived.put(None)
        self._thread.join()

    def submit(self, run: BlockRun, playhead: Playhead) -> "Future[Tensor]":
        """Let the next block of a push or flush be decoded; one at a time.

        Args:
            run: Not done.
            playhead: Says how soon it is needed, and is told of its sound.

        Returns:
            Its samples, (n,) float32, or an EngineError. Cancelling it spares the work.

        Raises:
            EngineError: If the service is closed.
        """
        job = Job(run, playhead, playhead.deadline(time.monotonic()))
        with self._lock:
            if self._is_closed:
                raise EngineError("the decoder is closed; nothing can be decoded any more")
            self._arrived.put(job)
        return job.result

    def _work(self) -> None:
        """Decode batch after batch until the service is closed; whoever waits gets an end."""
        reason = "the decoder was closed while it was speaking"
        try:
            if self._begin is not None:
                self._begin()
            with stream_of_its_own(self._decoder.device):
                while self._collect():
                    self._decode_batch()
        except Exception as error:
            logger.exception("the decoder's thread died")
            reason = f"the decoder's thread died: {error!r}; restart the program"
        with self._lock:
            self._is_closed = True
        while not self._arrived.empty():
            self._take(self._arrived.get())
        for job in self._jobs.values():
            if not job.result.done():
                job.result.set_exception(EngineError(reason))
        self._jobs.clear()

    def _collect(self) -> bool:
        """Take everything that arrived; wait if nothing is to do. False when it is closed."""
        while not len(self._batch) or not self._arrived.empty():
            if not self._take(self._arrived.get()):
                return False
        return True

    def _take(self, job: Job | None) -> bool:
        """Let a block wait; False if there is none."""
        if job is not None:
            self._jobs[job.run] = job
            self._batch.add(job.run, job.deadline)
        return job is not None

    def _decode_batch(self) -> None:
        """Decode the most urgent blocks, without those that nobody wants any more."""
        wanted = []
        for run in self._batch.take_group():
            if self._jobs[run].result.set_running_or_notify_cancel():
                wanted.append(run)
            else:
                del self._jobs[run]
        for run, sound in self._batch.decode(wanted):
            deliver(self._jobs.pop(run), sound)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@contextmanager
def stream_of_its_own(device: str | torch.device) -> Iterator[None]:
    """Let an accelerator work beside whatever else it does; what was begun before is waited for.

    Nothing but this thread's own copies to the CPU waits for the work. Devices without streams of
    their own, such as a CPU: no change.
    """
    kind = torch.device(device).type
    backend = torch.get_device_module(kind)
    if kind == "cpu" or not hasattr(backend, "default_stream"):
        yield
        return
    stream = backend.Stream(device)
    stream.wait_stream(backend.default_stream(stream.device))
    with backend.stream(stream):
        yield


def deliver(job: Job, sound: Tensor | Exception) -> None:
    """Give the samples of a block to whoever waits, or why there are none."""
    if isinstance(sound, Tensor):
        job.playhead.note_sound(len(sound), time.monotonic())
        job.result.set_result(sound)
        return
    logger.error("decoding a block failed", exc_info=sound)
    error = sound
    if not isinstance(sound, AntiphonError):
        error = EngineError(f"the decoder failed on this reply: {sound}")
        error.__cause__ = sound
    job.result.set_exception(error)


class SharedStream:
    """One reply of a `DecoderService`; used as a `DecoderStream` is, or block by block.

    Push and flush wait; `submit_push` and `submit_flush` give something to wait for.
    """

    def __init__(self, stream: DecoderStream, playhead: Playhead, service: DecoderService) -> None:
        self._stream, self._playhead, self._service = stream, playhead, service
        self._result: Future[Tensor] | None = None

    def push(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """Take more speech tokens; return the samples that became final, (n,) float32, maybe none.

        Raises:
            PromptError: If a token is out of range or no whole number; the stream stays usable.
            EngineError: If the stream or the service is closed, or the decoder failed.
        """
        return gather(self.submit_push(tokens))

    def flush(self) -> Tensor:
        """Return all samples held back, (n,) float32, and close the stream.

        Raises:
            EngineError: If the stream or the service is closed, or the decoder failed.
        """
        return gather(self.submit_flush())

    def submit_push(self, tokens: Sequence[int] | Tensor) -> "Iterator[Future[Tensor]]":
        """Take more speech tokens; give a result for each block that they complete.

        Wait for each result before the next is asked for. Cancelling a result spares its work;
        the stream is of no use afterwards.

        Raises:
            PromptError: If a token is out of range or no whole number; the stream stays usable.
            EngineError: If the stream is closed; from the iterator: if the service is closed;
                from a result: if the decoder failed.
        """
        return self._submit(self._stream.begin_push(tokens))

    def submit_flush(self) -> "Iterator[Future[Tensor]]":
        """Take the stream's end, as `submit_push` takes tokens; the stream takes no more."""
        return self._submit(self._stream.begin_flush())

    def close(self) -> None:
        """Free the state; what was held back is lost. A second call does nothing."""
        self._stream.close()
        if self._result is not None:
            self._result.cancel()

    def _submit(self, run: BlockRun) -> "Iterator[Future[Tensor]]":
        while not run.is_done:
            self._result = self._service.submit(run, self._playhead)
            yield self._result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def gather(blocks: "Iterator[Future[Tensor]]") -> Tensor:
    """Wait for all blocks; returns their samples, (n,) float32."""
    try:
        return torch.cat([torch.zeros(0), *(block.result() for block in blocks)])
    except CancelledError as error:
        raise EngineError("the stream was closed while a block of it was waiting") from error
