"""The worker thread: takes requests from a bounded queue and advances all running ones, fairly.

Knows nothing of HTTP or prompts. Lists change under one lock; only the worker touches the model.
"""

import logging
import threading
from concurrent.futures import Future

from antiphon.engine.base import EngineStats, TokenChunk
from antiphon.engine.generation import Generation, ModelRunner, Request
from antiphon.engine.kv_cache import IdleCaches, KVCache
from antiphon.errors import AntiphonError, EngineError, ServerBusyError

logger = logging.getLogger(__name__)


class Scheduler:
    """Runs many requests on one model in one thread."""

    def __init__(
        self, runner: ModelRunner, idle: IdleCaches, max_concurrent: int, max_queue: int
    ) -> None:
        """Start the worker.

        Args:
            runner: The model.
            idle: Where caches of sessions wait for the next turn.
            max_concurrent: Requests advanced together.
            max_queue: Requests that may wait beyond these.
        """
        self._runner = runner
        self._idle = idle
        self._max_concurrent = max_concurrent
        self._max_queue = max_queue
        self._wake = threading.Condition()
        self._waiting: list[Request] = []
        self._running: list[Generation] = []
        self._pings: list[Future[None]] = []
        self._generated_tokens = 0
        self._closed_because: str | None = None
        self._thread = threading.Thread(target=self._work, name="antiphon-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Queue a request.

        Raises:
            ServerBusyError: If the queue is full.
            EngineError: If the worker has ended or the request id is in use.
        """
        with self._wake:
            if self._closed_because is not None:
                raise EngineError(self._closed_because)
            if any(request.request_id == other.request_id for other in self._requests()):
                raise EngineError(f"request id {request.request_id!r} is in use; ids are unique")
            n_open = len(self._waiting) + len(self._running)
            if n_open >= self._max_concurrent + self._max_queue:
                raise ServerBusyError(
                    f"{len(self._running)} replies are being generated and {len(self._waiting)} "
                    f"requests wait, which is the limit; try again in a few seconds"
                )
            self._waiting.append(request)
            self._wake.notify()

    def cancel(self, request_id: str) -> None:
        """Mark a request as cancelled; it ends before the next step. Unknown ids are ignored."""
        with self._wake:
            for request in self._requests():
                if request.request_id == request_id:
                    request.outbox.is_cancelled = True

    def stats(self) -> EngineStats:
        """Tell what runs and waits."""
        with self._wake:
            return EngineStats(len(self._running), len(self._waiting), self._generated_tokens)

    def ping(self) -> "Future[None]":
        """Ask the worker for a sign of life; the result comes before its next step.

        Raises:
            EngineError: If the worker has ended.
        """
        answer: Future[None] = Future()
        with self._wake:
            if self._closed_because is not None or not self._thread.is_alive():
                raise EngineError(self._closed_because or "the engine's worker thread has died")
            self._pings.append(answer)
            self._wake.notify()
        return answer

    def close(self, timeout_s: float = 30.0) -> None:
        """End all requests as cancelled and stop the worker; waits at most for one step."""
        with self._wake:
            self._closed_because = self._closed_because or "the engine is closed"
            self._wake.notify()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            logger.warning("the engine's worker still runs a step after %.0f s", timeout_s)

    def _requests(self) -> list[Request]:
        """List all open requests."""
        return [*self._waiting, *(generation.request for generation in self._running)]

    def _work(self) -> None:
        """Step until closed; whatever happens, every stream gets its end."""
        last: TokenChunk | EngineError = TokenChunk((), "cancelled")
        try:
            while self._wait_for_work():
                self._step()
        except BaseException as error:
            logger.exception("the engine's worker died")
            last = EngineError(f"the engine's worker died: {error!r}; restart the server")
        with self._wake:
            self._closed_because = self._closed_because or str(last)
            requests, self._waiting, self._running = self._requests(), [], []
            self._idle.clear()
            self._answer_pings()
        for request in requests:
            request.outbox.put(last)

    def _wait_for_work(self) -> bool:
        """Sleep until there is something to do; False when closed."""
        with self._wake:
            while not (self._waiting or self._running or self._pings or self._closed_because):
                self._wake.wait()
            self._answer_pings()
            return self._closed_because is None

    def _answer_pings(self) -> None:
        """Give the signs of life that were asked for."""
        for answer in self._pings:
            if answer.set_running_or_notify_cancel():
                answer.set_result(None)
        self._pings.clear()

    def _step(self) -> None:
        """Advance every running reply by one token, and one prompt by one chunk."""
        self._drop_cancelled()
        self._admit()
        has_prefilled = False
        for generation in tuple(self._running):
            if generation.is_prefilling:
                if has_prefilled:
                    continue
                has_prefilled = True
            self._advance(generation)

    def _drop_cancelled(self) -> None:
        """End the requests that nobody wants any more."""
        with self._wake:
            dropped = [request for request in self._waiting if request.outbox.is_cancelled]
            self._waiting = [request for request in self._waiting if request not in dropped]
        for request in dropped:
            request.outbox.put(TokenChunk((), "cancelled"))
        for generation in tuple(self._running):
            if generation.request.outbox.is_cancelled:
                self._finish(generation, TokenChunk((), "cancelled"))

    def _admit(self) -> None:
        """Start waiting requests while there is room, first come first served."""
        while self._waiting and len(self._running) < self._max_concurrent:
            with self._wake:
                request = self._waiting.pop(0)
                try:
                    self._running.append(
                        Generation(request, self._runner, self._find_cache(request))
                    )
                except Exception as error:
                    logger.exception("request %s could not start", request.request_id)
                    request.outbox.put(as_engine_error(error))

    def _find_cache(self, request: Request) -> KVCache:
        """Take the cache that the session left, else a new one."""
        cache = None if request.session_id is None else self._idle.take(request.session_id)
        return KVCache(self._runner.n_layers) if cache is None else cache

    def _advance(self, generation: Generation) -> None:
        """Advance one request; its failure ends only its own stream."""
        try:
            chunk = generation.advance()
        except Exception as error:
            logger.exception("request %s failed", generation.request.request_id)
            self._remove(generation)  # its cache may be half written, so it is not kept
            generation.request.outbox.put(as_engine_error(error))
            return
        if chunk is None:
            return
        self._generated_tokens += len(chunk.token_ids)
        if chunk.finish_reason is None:
            generation.request.outbox.put(chunk)
        else:
            self._finish(generation, chunk)

    def _finish(self, generation: Generation, last: TokenChunk) -> None:
        """Free the place, keep the session's cache, and only then deliver the end."""
        self._remove(generation)
        if generation.request.session_id is not None:
            self._idle.put(generation.request.session_id, generation.cache)
        generation.request.outbox.put(last)

    def _remove(self, generation: Generation) -> None:
        """Take a request out of the running ones."""
        with self._wake:
            self._running.remove(generation)


def as_engine_error(error: Exception) -> AntiphonError:
    """Say in words why the model failed on one request."""
    if isinstance(error, AntiphonError):
        return error
    first_line = (str(error).splitlines() or [""])[0]
    failure = EngineError(
        f"the model failed on this request: {type(error).__name__}: {first_line}; "
        "see the server's log"
    )
    failure.__cause__ = error
    return failure
