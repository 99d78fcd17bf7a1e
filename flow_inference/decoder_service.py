"""One decoder for many replies: a thread that decodes whatever blocks wait, many at a time."""

import logging
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from torch import Tensor

from antiphon.errors import EngineError
from flow_inference.audio_decoder import AudioDecoder
from flow_inference.block_schedule import BlockSchedule, StreamOptions
from flow_inference.decoder_batch import BatchOptions, DecoderBatch
from flow_inference.stream import BlockRun, DecoderStream

logger = logging.getLogger(__name__)


class DecoderService:
    """Opens streams that share a decoder; each gives exactly what it would give alone.

    Push and flush wait for their blocks, so every reply that is to be decoded together with others
    needs a thread of its own. Close it at the end, or use it as a context manager.

    Args:
        decoder: Holds the weights.
        options: How blocks are grouped.
    """

    def __init__(self, decoder: AudioDecoder, options: BatchOptions | None = None) -> None:
        self.sample_rate = decoder.sample_rate
        self._decoder = decoder
        self._batch = DecoderBatch(decoder, options)
        self._arrived: queue.SimpleQueue[BlockRun | None] = queue.SimpleQueue()
        self._results: dict[BlockRun, Future[Tensor]] = {}
        self._lock = threading.Lock()  # guards _results and _is_closed
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
        return SharedStream(self._decoder.open_stream(voice, seed, schedule), self)

    def close(self) -> None:
        """End the thread; pushes and flushes that wait get an EngineError."""
        with self._lock:
            self._arrived.put(None)
            self._is_closed = True
        self._thread.join()

    def finish(self, run: BlockRun) -> Tensor:
        """Wait until all blocks of a push or flush are decoded; returns its samples.

        Raises:
            EngineError: If the service is closed, or the decoder failed.
        """
        if run.window is None:
            return run.samples
        result: Future[Tensor] = Future()
        with self._lock:
            if self._is_closed:
                raise EngineError("the decoder is closed; nothing can be decoded any more")
            self._results[run] = result
        self._arrived.put(run)
        return result.result()

    def _work(self) -> None:
        """Decode batch after batch until the service is closed."""
        while self._collect():
            group = self._batch.take_group()
            try:
                self._batch.decode(group)
            except Exception as error:
                logger.exception("decoding %d blocks failed", len(group))
                self._fail(group, f"the decoder failed: {error}")
                continue
            for run in group:
                if run.window is None:
                    self._pop(run).set_result(run.samples)
                else:
                    self._batch.add(run)
        with self._lock:
            unfinished = list(self._results)
        self._fail(unfinished, "the decoder was closed while it was speaking")

    def _collect(self) -> bool:
        """Take everything that arrived; wait if nothing is to do. False when it is closed."""
        while not len(self._batch) or not self._arrived.empty():
            run = self._arrived.get()
            if run is None:
                return False
            self._batch.add(run)
        return True

    def _fail(self, runs: Sequence[BlockRun], reason: str) -> None:
        for run in runs:
            self._pop(run).set_exception(EngineError(reason))

    def _pop(self, run: BlockRun) -> Future[Tensor]:
        with self._lock:
            return self._results.pop(run)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class SharedStream:
    """One reply of a `DecoderService`; used as a `DecoderStream` is."""

    def __init__(self, stream: DecoderStream, service: DecoderService) -> None:
        self._stream, self._service = stream, service

    def push(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """Take more speech tokens; return the samples that became final, (n,) float32, maybe none.

        Raises:
            PromptError: If a token is out of range or no whole number; the stream stays usable.
            EngineError: If the stream or the service is closed, or the decoder failed.
        """
        return self._service.finish(self._stream.begin_push(tokens))

    def flush(self) -> Tensor:
        """Return all samples held back, (n,) float32, and close the stream.

        Raises:
            EngineError: If the stream or the service is closed, or the decoder failed.
        """
        return self._service.finish(self._stream.begin_flush())

    def close(self) -> None:
        """Free the state; what was held back is lost. A second call does nothing."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
