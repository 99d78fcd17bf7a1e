"""From whoever records a user to the pipeline that hears: sound in pieces, and its end."""

import asyncio
import math
from typing import Self

from torch import Tensor

from antiphon.errors import AudioError, ConfigError
from antiphon.models.base import Waveform

MAX_WAITING_SAMPLES = 600 * 48_000
"""Samples that may wait to be heard: 10 minutes at 48 kHz, 115 MB as float32."""


class SpeechInput:
    """The sound of a user who still speaks; an asynchronous iterator for `UserTurn.speech`.

    Push and end it on the event loop of its one reader, the pipeline.

    Args:
        max_waiting: Most samples that may wait to be heard.

    Raises:
        ConfigError: If not even one may.
    """

    def __init__(self, max_waiting: int = MAX_WAITING_SAMPLES) -> None:
        if max_waiting < 1:
            raise ConfigError(f"max_waiting must be at least 1 sample, got {max_waiting}")
        self._pieces: asyncio.Queue[Waveform | Tensor | None] = asyncio.Queue()
        self._max_waiting = max_waiting
        self._n_waiting = 0
        self._has_ended = False

    def push(self, samples: Waveform | Tensor) -> None:
        """Hand over the next (n,) samples; after the end they are dropped.

        Raises:
            AudioError: If more would wait than may; these samples are not taken, and the input
                stays usable.
        """
        if self._has_ended:
            return
        n_waiting = self._n_waiting + count(samples)
        if n_waiting > self._max_waiting:
            raise AudioError(
                f"{n_waiting:,} samples would wait to be heard, more than {self._max_waiting:,}; "
                "push sound as it is recorded, or give a whole clip as a waveform"
            )
        self._n_waiting = n_waiting
        self._pieces.put_nowait(samples)

    def end(self) -> None:
        """Say that the user has ended; a second call does nothing."""
        if not self._has_ended:
            self._has_ended = True
            self._pieces.put_nowait(None)

    async def aclose(self) -> None:
        """Drop everything not read: the reader hears no more."""
        self._pieces = asyncio.Queue()
        self._n_waiting = 0
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
        self._n_waiting -= count(piece)
        return piece


def count(samples: Waveform | Tensor) -> int:
    """Count samples, (n,); a piece without any counts as one, for it waits like others."""
    return max(1, math.prod(samples.shape))
