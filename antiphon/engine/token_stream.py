"""Handing tokens from the worker thread to whoever awaits them, in any event loop.

Knows nothing of models. The worker never blocks here: it sees when a reader is too slow, and is
told when the reader has caught up or nobody listens any more.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from types import TracebackType

from antiphon.engine.base import TokenChunk

Item = TokenChunk | Exception


BUFFER_SIZE = 256
"""Chunks that may lie unread before a reply is paused; about 14 s of speech."""


def do_nothing() -> None:
    """Serve as a listener where nobody needs to know."""


class Bell:
    """Wakes the readers of many outboxes: one call into each event loop, not one for each token."""

    def __init__(self) -> None:
        self._sleepers: dict[asyncio.AbstractEventLoop, list[Sleeper]] = {}

    def add(self, loop: asyncio.AbstractEventLoop, sleeper: "Sleeper") -> None:
        """Remember a reader that waits in `loop`."""
        self._sleepers.setdefault(loop, []).append(sleeper)

    def ring(self) -> None:
        """Wake all that were remembered, from any thread."""
        sleepers, self._sleepers = self._sleepers, {}
        for loop, sleeping in sleepers.items():
            try:
                loop.call_soon_threadsafe(wake, [future for future, _ in sleeping])
            except RuntimeError:  # the loop is closed: nobody will ever read this
                for _, outbox in sleeping:
                    outbox.cancel()


class Outbox:
    """The queue of one request between the worker thread and an event loop.

    Attributes:
        is_cancelled: True once nobody wants more; the worker looks at it before every step.
    """

    def __init__(self, on_change: Callable[[], None] = do_nothing) -> None:
        """Make an empty queue; `on_change` is called when there is room again, and by `cancel`."""
        self.is_cancelled = False
        self._on_change = on_change
        self._items: deque[Item] = deque()
        self._lock = threading.Lock()
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    @property
    def has_room(self) -> bool:
        """Whether the reader keeps up; the last chunk or an error may be put all the same."""
        return self.room > 0

    @property
    def room(self) -> int:
        """Chunks that may be put before the reader counts as too slow."""
        return BUFFER_SIZE - len(self._items)

    def cancel(self) -> None:
        """Say that nobody wants more."""
        self.is_cancelled = True
        self._on_change()

    def put(self, item: Item, bell: Bell | None = None) -> None:
        """Deliver a chunk or an error from any thread, without waiting.

        With a `bell` its owner wakes the reader, by ringing it soon.
        """
        with self._lock:
            self._items.append(item)
            waiter, self._waiter = self._waiter, None
        if waiter is None:
            return
        loop, future = waiter
        ours = bell or Bell()
        ours.add(loop, (future, self))
        if bell is None:
            ours.ring()

    async def get(self) -> Item:
        """Wait for the next chunk or error. One reader at a time."""
        loop = asyncio.get_running_loop()
        while not self._items:  # only this reader takes items away
            future: asyncio.Future[None] = loop.create_future()
            with self._lock:
                if self._items:
                    break
                self._waiter = (loop, future)
            await future
        with self._lock:
            had_room = self.has_room
            item = self._items.popleft()
        if not had_room:
            self._on_change()
        return item


Sleeper = tuple["asyncio.Future[None]", Outbox]
"""What a reader waits for, and the outbox it reads."""


def wake(futures: Sequence["asyncio.Future[None]"]) -> None:
    """Let readers go on, except those that were cancelled meanwhile."""
    for future in futures:
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
        if not self._is_done:
            self._is_done = True
            self._outbox.cancel()

    def __del__(self) -> None:
        if not self._is_done:
            self._outbox.cancel()
