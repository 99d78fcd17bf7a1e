"""The worker thread: takes requests from a bounded queue and steps the replies under way.

Knows nothing of HTTP or prompts. Lists change under one lock; only the worker touches the model.
"""

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future

from antiphon.engine.base import EngineStats, TokenChunk
from antiphon.engine.decoder import Decoder
from antiphon.engine.generation import Generation, Request
from antiphon.engine.model_runner import ModelRunner
from antiphon.engine.policy import PlaybackPolicy
from antiphon.engine.running_batch import RunningBatch
from antiphon.engine.token_stream import Item
from antiphon.engine.warm_up import WarmUp, WarmUpQueue
from antiphon.errors import EngineError, ServerBusyError

logger = logging.getLogger(__name__)

DEFAULT_REPLY_S = 2.0
"""How long a reply is thought to take before any has ended."""

MAX_RETRY_S = 60.0

IDLE_CHECK_S = 1.0
"""How often the worker looks whether replies that nobody reads have become too old."""


class Scheduler:
    """Runs many requests on one model in one thread."""

    def __init__(
        self,
        runner: ModelRunner,
        decoder: Decoder,
        policy: PlaybackPolicy,
        max_concurrent: int,
        max_queue: int,
    ) -> None:
        """Start the worker.

        Args:
            runner: The model.
            decoder: Chooses tokens with it.
            policy: Which replies go first.
            max_concurrent: Requests advanced together, at most the slots of the runner.
            max_queue: Requests that may wait beyond these.
        """
        self._max_concurrent = max_concurrent
        self._max_queue = max_queue
        self._wake = threading.Condition()
        self._open: dict[str, Request] = {}
        self._waiting: list[Request] = []
        self._warm_ups = WarmUpQueue(max_concurrent + max_queue)
        self._pings: list[Future[None]] = []
        self._reply_times: deque[float] = deque([DEFAULT_REPLY_S], maxlen=16)
        self._closed_because: str | None = None
        self._batch = RunningBatch(runner, decoder, policy, self._on_end)
        self._thread = threading.Thread(
            target=self._work, args=(runner,), name="antiphon-engine", daemon=True
        )
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
            if request.request_id in self._open:
                raise EngineError(f"request id {request.request_id!r} is in use; ids are unique")
            if len(self._open) >= self._max_concurrent + self._max_queue:
                raise self._busy_error()
            self._open[request.request_id] = request
            self._waiting.append(request)
            self._warm_ups.drop(request.session_id)  # the prompt itself has come
            self._wake.notify()

    def warm_up(self, warm_up: WarmUp) -> None:
        """Queue a warm-up, to be run when there is time; dropped when full or closed."""
        with self._wake:
            self._warm_ups.put(warm_up)
            self._wake.notify()

    def cancel(self, request_id: str) -> None:
        """Mark a request as cancelled; it ends before the next step. Unknown ids are ignored."""
        with self._wake:
            request = self._open.get(request_id)
        if request is not None:
            request.outbox.cancel()

    def wake(self) -> None:
        """Let the worker look again at what there is to do."""
        with self._wake:
            self._wake.notify()

    def stats(self) -> EngineStats:
        """Tell what runs and waits."""
        with self._wake:
            n_waiting = len(self._waiting)
            n_running = len(self._open) - n_waiting
            return EngineStats(n_running, n_waiting, self._batch.generated_tokens)

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

    def _busy_error(self) -> ServerBusyError:
        """Say that the queue is full, and about when one of the running replies will be over."""
        n_waiting = len(self._waiting)
        n_running = len(self._open) - n_waiting
        reply_s = sum(self._reply_times) / len(self._reply_times)
        retry_after_s = min(MAX_RETRY_S, max(1.0, reply_s / max(1, n_running)))
        return ServerBusyError(
            f"{n_running} replies are being generated and {n_waiting} requests wait, which is the "
            f"limit; try again in about {retry_after_s:.0f} s",
            queue_length=n_waiting,
            retry_after_s=retry_after_s,
        )

    def _work(self, runner: ModelRunner) -> None:
        """Step until closed; whatever happens, every stream gets its end."""
        last: TokenChunk | EngineError = TokenChunk((), "cancelled")
        try:
            runner.adopt_thread()
            while self._wait_for_work():
                self._step()
        except BaseException as error:
            logger.exception("the engine's worker died")
            last = EngineError(f"the engine's worker died: {error!r}; restart the server")
        with self._wake:
            self._closed_because = self._closed_because or str(last)
            requests, self._open = list(self._open.values()), {}
            self._waiting = []
            self._answer_pings()
        for request in requests:
            request.outbox.put(last)

    def _wait_for_work(self) -> bool:
        """Sleep until there is something to do; False when closed."""
        with self._wake:
            self._wake.wait_for(self._has_work, IDLE_CHECK_S if len(self._batch) else None)
            self._answer_pings()
            return self._closed_because is None

    def _has_work(self) -> bool:
        """Tell whether a step would do something, or the worker is to end or to answer."""
        has_place = len(self._batch) < self._max_concurrent
        return (
            self._closed_because is not None
            or bool(self._pings)
            or self._batch.can_advance
            or any(has_place or request.outbox.is_cancelled for request in self._waiting)
            or self._next_warm_up() is not None
        )

    def _next_warm_up(self) -> WarmUp | None:
        """Give the warm-up to run next: requests go first, and a session's own reply ends first."""
        if self._waiting or not self._warm_ups:
            return None
        return self._warm_ups.first({request.session_id for request in self._open.values()})

    def _answer_pings(self) -> None:
        """Give the signs of life that were asked for."""
        for answer in self._pings:
            if answer.set_running_or_notify_cancel():
                answer.set_result(None)
        self._pings.clear()

    def _step(self) -> None:
        """Let in who waits while there is room, first come first served; then advance all.

        Where that leaves time, a chunk of a warm-up follows.
        """
        self._drop_cancelled()
        with self._wake:
            n_free = self._max_concurrent - len(self._batch)
            admitted, self._waiting = self._waiting[:n_free], self._waiting[n_free:]
        for request in admitted:
            self._batch.add(request)
        self._batch.step()
        with self._wake:
            warm_up = self._next_warm_up()
        if warm_up is None or not self._batch.has_time_to_spare:
            return
        if self._batch.warm_up(warm_up):
            with self._wake:
                self._warm_ups.finish(warm_up)

    def _drop_cancelled(self) -> None:
        """End the waiting requests that nobody wants any more."""
        with self._wake:
            dropped = [request for request in self._waiting if request.outbox.is_cancelled]
            for request in dropped:
                self._waiting.remove(request)
                del self._open[request.request_id]
        for request in dropped:
            request.outbox.put(TokenChunk((), "cancelled"))

    def _on_end(self, generation: Generation, last: Item) -> None:
        """Free the place of a reply, and only then deliver its end."""
        with self._wake:
            del self._open[generation.request.request_id]
            self._reply_times.append(time.monotonic() - generation.started_at)
        generation.request.outbox.put(last)
