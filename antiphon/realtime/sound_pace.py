"""When the first sound of a reply may go out, so that it does not run out before the second comes.

Learns from all replies of a server how long the second takes. Knows no socket and no client.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from antiphon.dialogue.events import AudioChunk

MEMORY = 8
"""Replies that are remembered; the slowest of them counts."""

FIRST_WAIT_S = 0.42
"""Time from the first piece to the second, before any reply was seen."""

MARGIN = 1.2
"""The next reply may be so much slower than the slowest that is remembered."""

MAX_HOLD_S = 0.3
"""The first sound never waits longer: past that, a gap is better than silence."""


class SoundPace:
    """What the replies of one server have shown so far."""

    def __init__(self) -> None:
        self._waits_s = deque([FIRST_WAIT_S], maxlen=MEMORY)

    def hold_s(self, sound_s: float) -> float:
        """Say how long the first piece of a reply, `sound_s` long, waits."""
        return min(max(MARGIN * max(self._waits_s) - sound_s, 0.0), MAX_HOLD_S)

    def note(self, wait_s: float) -> None:
        """Remember that the second piece was made `wait_s` after the first."""
        self._waits_s.append(wait_s)


class PacedSound:
    """The sound of one reply on its way out; all but the first piece go at once.

    Args:
        pace: What is known of the server.
        send: Takes the pieces in order.
    """

    def __init__(self, pace: SoundPace, send: Callable[[AudioChunk], None]) -> None:
        self._pace = pace
        self._send = send
        self._held: AudioChunk | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._n_pieces = 0
        self._first_at = 0.0

    def push(self, chunk: AudioChunk) -> None:
        """Take the next piece; sends it now, or the first a little later."""
        now = time.monotonic()
        self._n_pieces += 1
        if self._n_pieces == 1:
            self._first_at = now
            hold_s = self._pace.hold_s(len(chunk.waveform) / chunk.sample_rate)
            if hold_s > 0:
                self._held = chunk
                self._timer = asyncio.get_running_loop().call_later(hold_s, self.flush)
                return
        elif self._n_pieces == 2:
            self._pace.note(now - self._first_at)
        self.flush()
        self._send(chunk)

    def flush(self) -> None:
        """Send what waits: nothing more has to be waited for."""
        held, self._held = self._held, None
        self.drop()
        if held is not None:
            self._send(held)

    def drop(self) -> None:
        """Forget what waits: the reply was stopped."""
        self._held = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
