"""Which replies go first: those without sound yet, then those whose listeners run dry soonest.

Knows of a reply only how many tokens it has and since when. Source of the order: earliest deadline
first (Liu and Layland 1973, section 7).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar


@dataclass(frozen=True)
class Pace:
    """How fast replies are listened to.

    Attributes:
        first_block_tokens: Tokens before there is any sound: 13 of text and 10 of speech.
        tokens_per_s: Tokens used up by a second of sound: 12.5 of speech, and 13 of text for
            every 26 of these.
        head_start_s: A reply without sound goes before all whose sound still lasts, and before
            those that ran dry less than this many seconds before it came.
    """

    first_block_tokens: int = 23
    tokens_per_s: float = 18.75
    head_start_s: float = 5.0


@dataclass
class Progress:
    """How far a reply is.

    Attributes:
        submitted_at: When it was asked for, in seconds of any clock.
        n_tokens: Tokens generated.
        first_block_at: When there were enough of them for the first sound.
    """

    submitted_at: float
    n_tokens: int = 0
    first_block_at: float | None = None


class HasProgress(Protocol):
    """Something to put in order."""

    @property
    def progress(self) -> Progress:
        """How far it is."""
        ...


Reply = TypeVar("Reply", bound=HasProgress)


class PlaybackPolicy:
    """Orders replies by deadline.

    The deadline of a reply with sound is the moment at which all of it has been played, so that
    deadline minus now is its slack. A reply without sound has had its deadline `head_start_s`
    before it came. Nobody starves: a deadline stays where it is while the reply gets no tokens, and
    requests that come later than it have later deadlines.
    """

    def __init__(self, pace: Pace | None = None) -> None:
        """Order for listeners of this pace."""
        self._pace = pace or Pace()

    def note_token(self, progress: Progress, now: float) -> None:
        """Count a token that was generated at `now`."""
        progress.n_tokens += 1
        if progress.n_tokens == self._pace.first_block_tokens:
            progress.first_block_at = now

    def deadline(self, progress: Progress) -> float:
        """Say when a reply needs its next token, in seconds of its clock."""
        if progress.first_block_at is None:
            return progress.submitted_at - self._pace.head_start_s
        return progress.first_block_at + progress.n_tokens / self._pace.tokens_per_s

    def most_urgent(self, replies: Iterable[Reply], limit: int) -> list[Reply]:
        """Give at most `limit` replies, the most urgent first; equal ones keep their order."""
        return sorted(replies, key=lambda reply: self.deadline(reply.progress))[:limit]
