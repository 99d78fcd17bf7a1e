"""Handing tokens from the worker thread to whoever awaits them, in any event loop.

Knows nothing of models. The worker never blocks here, and notices when nobody listens any more.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator
from types import TracebackType

from antiphon.engine.base import TokenChunk

Item = TokenChunk | Exception


class Outbox:
    """The queue of one request between the worker thread and an event loop.

    Attributes:
        is_cancelled: True once nobody wants more; the worker looks at it before every step.
    """

    def __init__(self) -> None:
        """Make an empty queue."""
        self.is_cancelled = False
        self._items: deque[Item] = deque()
        self._lock = threading.Lock()
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    def put(self, item: Item) -> None:
        """Deliver a chunk or an error from any thread, without waiting."""
        with self._lock:
            self._items.append(item)
            waiter, self._waiter = self._waiter, None
        if waiter is None:
            return
        loop, future = waiter
        try:
            loop.call_soon_threadsafe(wake, future)
        except RuntimeError:  # the loop is closed: nobody will ever read this
            self.is_cancelled = True

    async def get(self) -> Item:
        """Wait for the next chunk or error. One reader at a time."""
        while True:
            with self._lock:
                if self._items:
                    return self._items.popleft()
                loop = asyncio.get_running_loop()
                future: asyncio.Future[None] = loop.create_future()
                self._waiter = (loop, future)
            await future


def wake(future: "asyncio.Future[None]") -> None:
    """Let the reader go on, unless it was cancelled meanwhile."""
    if not future.done():
        future.set_result(None)


class TokenStream(AsyncGenerator[TokenChunk, None]):
    """The reply of one request as an asynchronous generator.

    Unlike a generator function it has its request submitted before the first iteration. Closing
    it, dropping it or cancelling its reader cancels the request.
    """

    def __init__(self, outbox: Outbox) -> None:
        """Read from `outbox`."""
        self._outbox = outbox
        self._is_done = False

    async def __anext__(self) -> TokenChunk:
        """Wait for the next chunk; the last one carries `finish_reason`."""
        if self._is_done:
            raise StopAsyncIteration
        try:
            item = await self._outbox.get()
        except BaseException:
            await self.aclose()
            raise
        if isinstance(item, Exception):
            self._is_done = True
            raise item
        self._is_done = item.finish_reason is not None
        return item

    async def asend(self, value: None) -> TokenChunk:
        """Do as `__anext__`; nothing can be sent."""
        return await self.__anext__()

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> TokenChunk:
        """Cancel the request and raise what was thrown."""
        await self.aclose()
        raise typ

    async def aclose(self) -> None:
        """Cancel the request; does nothing after its end."""
        self._is_done = True
        self._outbox.is_cancelled = True

    def __del__(self) -> None:
        self._outbox.is_cancelled = True
