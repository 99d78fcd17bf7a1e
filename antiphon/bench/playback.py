"""Whether the blocks of a reply come in time to be played without a gap. Knows only numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Sound:
    """One block of sound: when it came, in seconds, and how long it plays."""

    at_s: float
    duration_s: float


def slacks(sounds: Sequence[Sound]) -> list[float]:
    """Say how much sound is left to play when each block after the first comes.

    The listener plays the first block at once and has no buffer beside what came: seconds sent
    before, minus seconds since the first block. Below 0 there was a gap.
    """
    found, sent_s = [], 0.0
    for before, sound in pairwise(sounds):
        sent_s += before.duration_s
        found.append(sent_s - (sound.at_s - sounds[0].at_s))
    return found


def playback_end(sounds: Sequence[Sound]) -> float:
    """Say when the listener has heard everything, gaps included; needs at least one block."""
    end_s = sounds[0].at_s
    for sound in sounds:
        end_s = max(end_s, sound.at_s) + sound.duration_s
    return end_s


@dataclass(frozen=True)
class Span:
    """A stretch of time, in seconds."""

    start_s: float
    end_s: float


def most_at_once(spans: Iterable[Span]) -> int:
    """Count the spans that hold the busiest moment; one that ends as another starts is over."""
    changes = sorted(change for span in spans for change in ((span.start_s, 1), (span.end_s, -1)))
    n_open = most = 0
    for _, change in changes:
        n_open += change
        most = max(most, n_open)
    return most
