"""A call in a thread of its own, for programs that wait for a person to type in the main one.

Ctrl-C reaches the main thread only: it interrupts `wait` and typing, never the call itself.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Protocol, Self, TypeVar

from antiphon.errors import ServerConnectionError
from antiphon.talk.call import Call
from antiphon.talk.task_race import race

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.1

Result = TypeVar("Result")


class SpeakerTask(Protocol):
    """Something that plays while the call lasts."""

    async def run(self) -> None:
        """Play until cancelled."""
        ...


class CallThread:
    """Runs one call; entering waits until it stands, leaving ends it."""

    def __init__(self, make_call: Callable[[], Call], speaker: SpeakerTask) -> None:
        """Run the call that `make_call` makes in the thread, and `speaker` beside it."""
        self._make_call = make_call
        self._speaker = speaker
        self._thread = threading.Thread(target=self._work, name="antiphon-call", daemon=True)
        self._is_made = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self.call: Call

    def _work(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:  # handed to the main thread, which raises it
            self._error = error
        finally:
            self._is_made.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.call = self._make_call()
        self._is_made.set()
        await race(self.call.run(), self._speaker.run(), self._end.wait())

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._is_made.wait(START_TIMEOUT_S)
            self.check()
            self.wait(self.submit(self.call.wait_connected()))
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(STOP_TIMEOUT_S)

    def check(self) -> None:
        """Raise what ended the call, if it has ended."""
        if self._error is not None:
            raise self._error
        if not self._thread.is_alive():
            raise ServerConnectionError("the call has ended")

    def submit(self, work: Coroutine[None, None, Result]) -> Future[Result]:
        """Start something in the call's thread.

        Raises:
            AntiphonError: What ended the call, if it has ended.
        """
        if self._loop is None or not self._thread.is_alive():
            work.close()
            self.check()
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, future: Future[Result]) -> Result:
        """Wait for what was submitted.

        Raises:
            AntiphonError: What it raised, or what ended the call meanwhile.
            KeyboardInterrupt: On Ctrl-C; the work goes on, and may be waited for again.
        """
        while True:
            try:
                return future.result(POLL_S)
            except FutureTimeoutError:
                if not future.done():
                    self.check()
            except CancelledError:  # the call has ended, or is about to
                self._thread.join(STOP_TIMEOUT_S)
                self.check()
                raise
