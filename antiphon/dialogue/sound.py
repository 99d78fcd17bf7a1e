"""The decoder's side of one reply: speech tokens in, samples out, off the event loop.

Streams that share a decoder are decoded by its owner, others in a thread that is given.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from torch import Tensor

from antiphon.models.base import DecoderStreamLike, SharedStreamLike

Result = TypeVar("Result")


class Sound:
    """One reply being spoken; open it, push, flush, close it.

    Args:
        open_stream: Opens the decoder's stream; None for a reply without sound.
        thread: Where the stream is opened and closed and, unless it is shared, runs; a single
            thread, so that calls keep their order.
    """

    def __init__(
        self, open_stream: Callable[[], DecoderStreamLike] | None, thread: Executor
    ) -> None:
        self._open_stream, self._thread = open_stream, thread
        self._stream: DecoderStreamLike | None = None

    async def open(self) -> None:
        """Open the stream.

        Raises:
            AntiphonError: Whatever the decoder has against it.
        """
        if self._open_stream is not None:
            await self._in_thread(self._enter)

    async def push(self, codes: Sequence[int]) -> AsyncIterator[Tensor]:
        """Take speech tokens; yield samples as they become final, (n,) float32."""
        if isinstance(self._stream, SharedStreamLike):
            for block in self._stream.submit_push(codes):
                yield await asyncio.wrap_future(block)
        elif self._stream is not None:
            yield await self._in_thread(self._stream.push, codes)

    async def flush(self) -> AsyncIterator[Tensor]:
        """Yield all samples held back, (n,) float32."""
        if isinstance(self._stream, SharedStreamLike):
            for block in self._stream.submit_flush():
                yield await asyncio.wrap_future(block)
        elif self._stream is not None:
            yield await self._in_thread(self._stream.flush)

    async def close(self) -> None:
        """Leave the stream, after whatever was begun in the thread."""
        await self._in_thread(self._leave)

    def _enter(self) -> None:
        assert self._open_stream is not None
        self._stream = self._open_stream().__enter__()

    def _leave(self) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.__exit__(None, None, None)

    async def _in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
