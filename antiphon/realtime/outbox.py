"""What waits to be sent to a client; bounded, so that a slow one never grows memory.

Knows frames only, not what is in them.
"""

import asyncio
import json
from collections import deque

from antiphon.api.realtime_messages import Message
from antiphon.errors import ServerConnectionError

Frame = str | bytes

SOFT_LIMIT = 1_000_000
"""Bytes that may wait before makers of sound have to wait: 20 s of PCM16 at 24 kHz."""

HARD_LIMIT = 4_000_000
"""Bytes after which the client is given up: it asked for more than it reads."""

STALL_S = 20.0
"""Seconds a client may read nothing at all while a reply waits for it."""


class Outbox:
    """Frames in order; one task takes them."""

    def __init__(self, soft_limit: int = SOFT_LIMIT, hard_limit: int = HARD_LIMIT) -> None:
        self.n_bytes = 0
        self._soft_limit, self._hard_limit = soft_limit, hard_limit
        self._frames: deque[Frame] = deque()
        self._is_filled = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing is sent any more."""
        return self._is_closed

    def send(self, event: Message) -> None:
        """Queue an event without waiting; after `close` it is dropped."""
        self.send_frames(json.dumps(event, ensure_ascii=False))

    def send_frames(self, *frames: Frame) -> None:
        """Queue frames that belong together; gives the client up if far too much waits."""
        if self._is_closed:
            return
        self._frames.extend(frames)
        self.n_bytes += sum(map(len, frames))
        self._is_filled.set()
        if self.n_bytes >= self._soft_limit:
            self._has_room.clear()
        if self.n_bytes >= self._hard_limit:
            self.close()

    async def wait_for_room(self) -> None:
        """Wait until sound may be queued.

        Raises:
            ServerConnectionError: If the client reads nothing for `STALL_S`; it is given up then.
        """
        while not self._has_room.is_set():
            before = self.n_bytes
            try:
                async with asyncio.timeout(STALL_S):
                    await self._has_room.wait()
            except TimeoutError:
                if self.n_bytes >= before:
                    self.close()
                    raise ServerConnectionError(
                        f"the client read nothing for {STALL_S:.0f} s; the call is given up"
                    ) from None

    async def take(self) -> Frame | None:
        """Wait for the next frame; None after `close`."""
        while not self._frames and not self._is_closed:
            self._is_filled.clear()
            await self._is_filled.wait()
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self.n_bytes -= len(frame)
        if self.n_bytes < self._soft_limit:
            self._has_room.set()
        return frame

    def close(self) -> None:
        """Drop what waits; wake everybody."""
        self._is_closed = True
        self._frames.clear()
        self.n_bytes = 0
        self._is_filled.set()
        self._has_room.set()
