"""How far a reply's sound is at the client: from its reports, or from the clock where none come."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """What a client told last."""

    played_ms: float
    is_playing: bool
    at: float


class ReplyPlayback:
    """The sound of one reply.

    Attributes:
        sent_ms: Sound that was sent.
    """

    def __init__(self) -> None:
        self.sent_ms = 0.0
        self._started_at: float | None = None
        self._report: Report | None = None
        self._is_flushed = False

    @property
    def is_reported(self) -> bool:
        """Whether the client tells how far it is."""
        return self._report is not None

    @property
    def is_playing(self) -> bool:
        """Whether the client most likely plays it now."""
        return self.remaining_s > 0

    @property
    def remaining_s(self) -> float:
        """How long the sound that was sent will most likely go on."""
        if self._started_at is None or self._is_flushed:
            return 0.0
        if self._report is not None and not self._report.is_playing:
            return 0.0
        return max(self.sent_ms - self.heard_ms, 0.0) / 1000

    @property
    def heard_ms(self) -> float:
        """Sound that was most likely heard by now."""
        if self._started_at is None:
            return 0.0
        now = time.monotonic()
        if self._report is None:
            return min((now - self._started_at) * 1000, self.sent_ms)
        since_ms = (now - self._report.at) * 1000 * self._report.is_playing
        return min(self._report.played_ms + since_ms, self.sent_ms)

    def note_sent(self, audio_ms: float) -> None:
        """All sound so far is `audio_ms` long."""
        if self._started_at is None:
            self._started_at = time.monotonic()
        self.sent_ms = audio_ms

    def note_report(self, played_ms: float, is_playing: bool) -> None:
        """Take a report of the client."""
        self._report = Report(min(played_ms, self.sent_ms), is_playing, time.monotonic())

    def flush(self) -> None:
        """The client was told to stop: nothing plays any more."""
        heard_ms = self.heard_ms
        self._report = Report(heard_ms, False, time.monotonic())
        self._is_flushed = True
