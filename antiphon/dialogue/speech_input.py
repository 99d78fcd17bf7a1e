"""From whoever records a user to the pipeline that hears: sound in pieces, and its end."""

import asyncio
from typing import Self

from torch import Tensor

from antiphon.models.base import Waveform


class SpeechInput:
    """The sound of a user who still speaks; an asynchronous iterator for `UserTurn.speech`.

    Push and end it on the event loop of its one reader, the pipeline.
    """

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[Waveform | Tensor | None] = asyncio.Queue()
        self._has_ended = False

    def push(self, samples: Waveform | Tensor) -> None:
        """Hand over the next (n,) samples; after the end they are dropped."""
        if not self._has_ended:
            self._pieces.put_nowait(samples)

    def end(self) -> None:
        """Say that the user has ended; a second call does nothing."""
        if not self._has_ended:
            self._has_ended = True
            self._pieces.put_nowait(None)

    async def aclose(self) -> None:
        """Drop everything not read: the reader hears no more."""
        self._pieces = asyncio.Queue()
        self._has_ended = False
        self.end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Waveform | Tensor:
        """Wait for the next samples."""
        piece = await self._pieces.get()
        if piece is None:
            self._pieces.put_nowait(None)  # the end is seen again by the next call
            raise StopAsyncIteration
        return piece
