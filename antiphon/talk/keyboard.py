"""Single keys of the terminal while a call runs; Ctrl-C stays what it is.

Knows nothing of what the keys mean.
"""

import asyncio
import os
import sys
import termios
import tty
from types import TracebackType
from typing import Self

MAX_WAITING_KEYS = 32


class Keyboard:
    """Reads keys without waiting for Enter; leaving it restores the terminal.

    Attributes:
        is_there: Whether standard input is a terminal; without one no key ever comes.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """Read from a terminal's file descriptor; None: standard input."""
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self.is_there = os.isatty(self._descriptor)
        self._keys: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING_KEYS)

    def __enter__(self) -> Self:
        if self.is_there:
            self._before = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor)  # keeps Ctrl-C a signal
            asyncio.get_running_loop().add_reader(self._descriptor, self._read)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.is_there:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def _read(self) -> None:
        keys = os.read(self._descriptor, MAX_WAITING_KEYS).decode("utf-8", "replace")
        if not keys:  # the terminal is gone
            asyncio.get_running_loop().remove_reader(self._descriptor)
        for key in keys:
            if not self._keys.full():
                self._keys.put_nowait(key)

    async def next_key(self) -> str:
        """Wait for a key, as long as it takes."""
        return await self._keys.get()
