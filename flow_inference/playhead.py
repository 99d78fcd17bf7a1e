"""When the listener of one reply runs out of sound. Knows neither blocks nor threads."""

HEAD_START_S = 5.0
"""A reply that has not been heard goes before all others whose sound ran out less than this long
before it came; so new replies cannot keep an old one waiting for ever."""


class Playhead:
    """Follows a listener who plays sound as soon as it comes and waits where there is none.

    Args:
        sample_rate: Samples played a second.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._runs_out_at: float | None = None

    def note_sound(self, n_samples: int, now: float) -> None:
        """Count samples that the listener gets at `now`, in seconds of any clock."""
        if n_samples:
            begins_at = now if self._runs_out_at is None else max(now, self._runs_out_at)
            self._runs_out_at = begins_at + n_samples / self._sample_rate

    def deadline(self, now: float) -> float:
        """Say by when a block that is ready at `now` should be heard, in seconds of the same clock.

        That is when all sound so far has been played; its slack is that minus now.
        """
        return now - HEAD_START_S if self._runs_out_at is None else self._runs_out_at
