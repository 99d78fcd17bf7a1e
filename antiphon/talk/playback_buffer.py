"""What is to be played: takes a reply's sound as it comes, gives it evenly, counts what was heard.

An adaptive jitter buffer: it waits for some sound before it starts, and for more after each
underrun. Sound is faded for 8 ms wherever it starts or stops. Knows nothing of devices.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np

from antiphon.audio import Waveform
from antiphon.talk.call_settings import OUTPUT_RATE

FADE_MS = 8
FIRST_FILL_MS = 120
FILL_GROWTH = 1.5
MAX_FILL_MS = 1_000


@dataclass(frozen=True)
class Playback:
    """How far the reply that is played now, or was last, has come.

    Attributes:
        item_id: The reply.
        played_ms, buffered_ms: What was given out, and what waits.
        n_underruns: How often sound was missing, in all replies.
        is_playing: Whether anything of it is still to be heard.
        started_at: When its first sample was given, as `time.monotonic` counts; None before.
    """

    item_id: str
    played_ms: int
    buffered_ms: int
    n_underruns: int
    is_playing: bool
    started_at: float | None = None


@dataclass
class _Reply:
    """The sound of one reply. `run` counts the samples since it last started after silence."""

    item_id: str
    blocks: deque[Waveform] = field(default_factory=deque)
    n_waiting: int = 0
    n_played: int = 0
    run: int | None = None
    is_ended: bool = False
    started_at: float | None = None

    def take(self, n_samples: int) -> Waveform:
        """Take exactly `n_samples` that wait."""
        taken: list[Waveform] = [np.zeros(0, np.float32)]
        missing = n_samples
        while missing:
            block = self.blocks.popleft()
            if len(block) > missing:
                self.blocks.appendleft(block[missing:])
                block = block[:missing]
            taken.append(block)
            missing -= len(block)
        self.n_waiting -= n_samples
        self.n_played += n_samples
        return np.concatenate(taken)


class PlaybackBuffer:
    """The sound of replies on its way to a speaker; safe between two threads.

    Replies are played one after another. The last 8 ms that are there are always kept back, so
    that there is something to fade when no more comes; they go out faded when the reply ends, and
    at an underrun.
    """

    def __init__(self, sample_rate: int = OUTPUT_RATE, first_fill_ms: int = FIRST_FILL_MS) -> None:
        """Make an empty buffer for sound at `sample_rate` Hz that starts after `first_fill_ms`."""
        self.sample_rate = sample_rate
        self._fade = sample_rate * FADE_MS // 1_000
        self._fill_ms = float(first_fill_ms)
        self._lock = threading.Lock()
        self._replies: deque[_Reply] = deque()
        self._tail = np.zeros(0, np.float32)  # faded, next to go out
        self._last = Playback("", 0, 0, 0, False)
        self._n_underruns = 0

    def push(self, item_id: str, sound: Waveform) -> None:
        """Append (n_samples,) float32 to a reply; an unknown one begins."""
        with self._lock:
            reply = self._find(item_id)
            if reply is None:
                reply = _Reply(item_id)
                self._replies.append(reply)
            if len(sound):
                reply.blocks.append(np.asarray(sound, np.float32))
                reply.n_waiting += len(sound)

    def end(self, item_id: str) -> None:
        """Tell that no more comes of a reply."""
        with self._lock:
            reply = self._find(item_id)
            if reply is not None:
                reply.is_ended = True
                self._drop_finished()

    def pull(self, n_samples: int) -> Waveform:
        """Give the next (n_samples,) float32 to play; silence where there is nothing."""
        out = np.zeros(n_samples, np.float32)
        n_filled = 0
        with self._lock:
            while n_filled < n_samples:
                sound = self._next(n_samples - n_filled)
                if not len(sound):
                    break
                out[n_filled : n_filled + len(sound)] = sound
                n_filled += len(sound)
            self._drop_finished()
        return out

    def flush(self) -> Playback:
        """Stop at once: only 8 ms more, faded, will be given; everything else is dropped.

        Returns:
            How far the reply that was playing has been heard, the fade included.
        """
        with self._lock:
            if not self._replies:
                return self._status()
            reply = self._replies[0]
            if reply.run is not None:
                self._tail = np.concatenate([self._tail, self._end_of_run(reply)])
            self._last = self._describe(reply, is_playing=False)
            self._replies.clear()
            return self._last

    def status(self) -> Playback:
        """Tell how far the reply that is playing, or was last, has come."""
        with self._lock:
            return self._status()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to play."""
        with self._lock:
            return not self._replies and not len(self._tail)

    @property
    def n_complete(self) -> int:
        """Samples of the first reply, once all of it is here; else 0."""
        with self._lock:
            if self._replies and self._replies[0].is_ended:
                return self._replies[0].n_waiting + len(self._tail)
            return len(self._tail)

    def _find(self, item_id: str) -> _Reply | None:
        return next((reply for reply in self._replies if reply.item_id == item_id), None)

    def _next(self, n_wanted: int) -> Waveform:
        """Give up to `n_wanted` samples; none if nothing may be played now."""
        if len(self._tail):
            sound, self._tail = self._tail[:n_wanted], self._tail[n_wanted:]
            return sound
        self._drop_finished()
        if not self._replies:
            return self._tail
        reply = self._replies[0]
        if reply.run is None:
            if not self._may_start(reply):
                return self._tail
            reply.run = 0
            reply.started_at = reply.started_at or time.monotonic()
        n_spare = reply.n_waiting - self._fade
        if n_spare > 0:
            return self._fade_in(reply, reply.take(min(n_spare, n_wanted)))
        self._tail = self._end_of_run(reply)
        if not reply.is_ended:
            self._n_underruns += 1
            self._fill_ms = min(self._fill_ms * FILL_GROWTH, MAX_FILL_MS)
        return self._next(n_wanted) if len(self._tail) else self._tail

    def _may_start(self, reply: _Reply) -> bool:
        n_fill = max(self._fade + 1, round(self._fill_ms * self.sample_rate / 1_000))
        return reply.is_ended or reply.n_waiting >= n_fill

    def _fade_in(self, reply: _Reply, sound: Waveform) -> Waveform:
        """Apply the part of the fade that falls into `sound`, the next of the run."""
        assert reply.run is not None
        start, reply.run = reply.run, reply.run + len(sound)
        if start >= self._fade:
            return sound
        gain = np.minimum((np.arange(start, reply.run) + 1) / (self._fade + 1), 1)
        return (sound * gain).astype(np.float32)

    def _end_of_run(self, reply: _Reply) -> Waveform:
        """Take the last samples of a run, faded out."""
        n_samples = min(reply.n_waiting, self._fade)
        sound = self._fade_in(reply, reply.take(n_samples))
        reply.run = None
        gain = np.arange(n_samples, 0, -1) / (self._fade + 1)
        return (sound * gain).astype(np.float32)

    def _drop_finished(self) -> None:
        while self._replies and self._replies[0].is_ended and not self._replies[0].n_waiting:
            self._last = self._describe(self._replies.popleft(), is_playing=False)

    def _status(self) -> Playback:
        if self._replies:
            return self._describe(self._replies[0], is_playing=True)
        is_fading = bool(len(self._tail))
        return replace(self._last, n_underruns=self._n_underruns, is_playing=is_fading)

    def _describe(self, reply: _Reply, is_playing: bool) -> Playback:
        to_ms = 1_000 / self.sample_rate
        n_played = reply.n_played - (len(self._tail) if is_playing else 0)
        return Playback(
            reply.item_id,
            round(n_played * to_ms),
            round((reply.n_waiting + len(self._tail)) * to_ms) if is_playing else 0,
            self._n_underruns,
            is_playing,
            reply.started_at,
        )
