"""When each stage of a turn happened, counted from the moment the clip is in."""

import time

from antiphon.dialogue.events import TurnTimings


class StageClock:
    """Takes the first time of each stage; later calls for the same stage change nothing."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._tokenised_s: float | None = None
        self._generate_s: float | None = None
        self._prefill_s: float | None = None
        self._first_text_s: float | None = None
        self._first_audio_s: float | None = None
        self._end_s: float | None = None

    def restart(self) -> None:
        """The user has ended: count from now."""
        self._start = time.perf_counter()

    def now(self) -> float:
        """Seconds since the clip is in."""
        return time.perf_counter() - self._start

    def mark_tokenised(self) -> None:
        """The user's words or sound are tokens."""
        self._tokenised_s = self._tokenised_s or self.now()

    def mark_generate(self) -> None:
        """The engine was asked."""
        self._generate_s = self._generate_s or self.now()

    def mark_first_token(self) -> None:
        """The engine gave its first token: the prefill is over."""
        if self._prefill_s is None and self._generate_s is not None:
            self._prefill_s = self.now() - self._generate_s

    def mark_text(self) -> None:
        """Text can be shown."""
        self._first_text_s = self._first_text_s or self.now()

    def mark_audio(self) -> None:
        """Sound can be played."""
        self._first_audio_s = self._first_audio_s or self.now()

    def mark_end(self) -> None:
        """All of the reply was made."""
        self._end_s = self._end_s or self.now()

    def timings(self) -> TurnTimings:
        """Give all stages so far; the total ends now if the reply has not ended."""
        return TurnTimings(
            tokenise_s=self._tokenised_s or self.now(),
            prefill_s=self._prefill_s,
            first_text_s=self._first_text_s,
            first_audio_s=self._first_audio_s,
            total_s=self._end_s or self.now(),
        )
