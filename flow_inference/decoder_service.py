"""One decoder for many replies: threads that decode whatever blocks wait, the most urgent first."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Self
from weakref import WeakSet

import torch
from torch import Tensor

from antiphon.errors import AntiphonError, EngineError
from flow_inference.audio_decoder import AudioDecoder
from flow_inference.block_schedule import BlockSchedule, Crowd, StreamOptions
from flow_inference.decoder_batch import BatchOptions, DecoderBatch
from flow_inference.flow_window import is_cuda
from flow_inference.playhead import Playhead
from flow_inference.stream import BlockRun, DecoderStream

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Job:
    """One block that somebody waits for.

    Attributes:
        playhead: Of the reply's listener.
        result: Gets its samples, (n,) float32; cancelled, it is not decoded.
    """

    playhead: Playhead
    result: "Future[Tensor]" = field(default_factory=Future)


@dataclass(frozen=True)
class Work:
    """Blocks that are being decoded together.

    Attributes:
        deadline: When the first of them is needed.
        steps: Decodes them; see `DecoderBatch.decode`.
    """

    deadline: float
    steps: "Iterator[tuple[BlockRun, Tensor | Exception] | None]"


class DecoderService:
    """Opens streams that share a decoder; each gives exactly what it would give alone.

    Blocks are decoded by deadline (`playhead.py`); one that comes with an earlier deadline than
    those being decoded waits for nothing but the step of the flow under way. Close the service at
    the end, or use it as a context manager.

    Args:
        decoder: Holds the weights.
        options: How blocks are grouped.
        begin: Called first in each thread, to set what belongs to a thread.
        n_threads: How many work at once, each on blocks of its own.
        crowd: When replies begin with larger blocks; None for never.
    """

    def __init__(
        self,
        decoder: AudioDecoder,
        options: BatchOptions | None = None,
        begin: Callable[[], None] | None = None,
        n_threads: int = 1,
        crowd: Crowd | None = None,
    ) -> None:
        self._begin = begin
        self._crowd = crowd
        self.sample_rate = decoder.sample_rate
        self._decoder = decoder
        self._changed = threading.Condition()  # guards all that follows
        self._open: WeakSet[SharedStream] = WeakSet()  # one that nobody closed is not counted
        self._batch = DecoderBatch(decoder, options)
        self._jobs: dict[BlockRun, Job] = {}
        self._under_way: list[Work] = []  # but for what a thread is at
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"antiphon-decoder-{n}", daemon=True)
            for n in range(n_threads)
        ]
        for thread in self._threads:
            thread.start()

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
        """Open the state of one reply; see `AudioDecoder.open_stream`.

        Without a schedule, a reply that begins in a crowd has the crowd's.
        """
        crowd = self._crowd
        with self._changed:
            if schedule is None and crowd is not None and len(self._open) >= crowd.n_replies:
                schedule = crowd.schedule
            stream = self._decoder.open_stream(voice, seed, schedule)
            shared = SharedStream(stream, Playhead(self.sample_rate), self)
            self._open.add(shared)
        return shared

    def forget(self, stream: "SharedStream") -> None:
        """Take note that a stream is closed."""
        with self._changed:
            self._open.discard(stream)

    def close(self) -> None:
        """End the threads after the step under way; blocks that still wait get an EngineError."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

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
        job = Job(playhead)
        with self._changed:
            if self._is_closed:
                raise EngineError("the decoder is closed; nothing can be decoded any more")
            self._jobs[run] = job
            self._batch.add(run, playhead.deadline(time.monotonic()))
            self._changed.notify()
        return job.result

    def _work(self) -> None:
        """Do the most urgent work step by step until the service is closed or a thread has died."""
        reason = "the decoder was closed while it was speaking"
        try:
            if self._begin is not None:
                self._begin()
            with stream_of_its_own(self._decoder.device):
                while (work := self._take_work()) is not None:
                    self._advance(work)
        except Exception as error:
            logger.exception("the decoder's thread died")
            reason = f"the decoder's thread died: {error!r}; restart the program"
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            jobs = list(self._jobs.values())
            self._jobs.clear()
        for job in jobs:
            if not job.result.done():
                job.result.set_exception(EngineError(reason))

    def _take_work(self) -> Work | None:
        """Wait for work and take the most urgent; None when the service is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._under_way or len(self._batch))
            if self._is_closed:
                return None
            if self._batch.deadline < min((each.deadline for each in self._under_way), default=inf):
                return self._begin_group()
            work = min(self._under_way, key=lambda each: each.deadline)
            self._under_way.remove(work)
            return work

    def _begin_group(self) -> Work:
        """Begin with the most urgent blocks, without those that nobody wants any more."""
        deadline, wanted = self._batch.deadline, []
        for run in self._batch.take_group():
            if self._jobs[run].result.set_running_or_notify_cancel():
                wanted.append(run)
            else:
                del self._jobs[run]
        return Work(deadline, self._batch.decode(wanted))

    def _advance(self, work: Work) -> None:
        """Take work a step further; what has come meanwhile may be more urgent."""
        for found in work.steps:
            if found is None:
                with self._changed:
                    self._under_way.append(work)
                return
            run, sound = found
            with self._changed:
                job = self._jobs.pop(run, None)
            if job is not None:
                deliver(job, sound)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@contextmanager
def stream_of_its_own(device: str | torch.device) -> Iterator[None]:
    """Let a CUDA device work beside whatever else it does; what was begun before is waited for.

    Nothing but this thread's own copies to the CPU waits for the work. Other devices: no change.
    """
    if not is_cuda(device):
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.default_stream(stream.device))
    with torch.cuda.stream(stream):
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
        self._service.forget(self)
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
