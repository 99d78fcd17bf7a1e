"""Beginnings of prompts that will come, to be computed when there is time. Knows no model.

They are a favour, not a duty: the latest of each session counts, and there are only so many.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class WarmUp:
    """What is known of a session's next prompt: its first token ids, at least one."""

    session_id: str
    token_ids: tuple[int, ...]


class WarmUpQueue:
    """The warm-ups that wait, first come first served; whoever owns it sees to locking.

    Args:
        limit: Most sessions; those that come when it is full are dropped.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[str, WarmUp] = {}

    def __len__(self) -> int:
        """Count the sessions."""
        return len(self._waiting)

    def put(self, warm_up: WarmUp) -> None:
        """Let a warm-up wait, in place of an earlier one of its session."""
        if warm_up.session_id in self._waiting or len(self._waiting) < self._limit:
            self._waiting[warm_up.session_id] = warm_up

    def drop(self, session_id: str | None) -> None:
        """Forget what waits for a session, if anything."""
        if session_id is not None:
            self._waiting.pop(session_id, None)

    def first(self, busy: AbstractSet[str | None]) -> WarmUp | None:
        """Give the first one whose session is not busy; it stays until it is finished."""
        return next((each for each in self._waiting.values() if each.session_id not in busy), None)

    def finish(self, warm_up: WarmUp) -> None:
        """Take out one that is computed, unless a later one has taken its place."""
        if self._waiting.get(warm_up.session_id) is warm_up:
            del self._waiting[warm_up.session_id]
