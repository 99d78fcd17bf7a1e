"""When the listener of one reply runs out of sound. Knows neither blocks nor threads."""

FIRST_SOUND_S = 0.25
"""How soon a reply's first block is wanted. It goes before all blocks that are needed later than
this, and after those whose listeners would run dry; new replies cannot keep old ones waiting."""


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

        That is when all sound so far has been played; a reply without any should be heard soon.
        """
        return now + FIRST_SOUND_S if self._runs_out_at is None else self._runs_out_at
