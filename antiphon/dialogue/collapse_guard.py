"""Notices that a reply's speech has collapsed: the same few tokens over and over. Knows no text."""

import math
from collections import deque

from antiphon.errors import ConfigError

SPEECH_TOKEN_RATE = 12.5
"""Speech tokens in a second of sound, in Hz."""

MAX_CYCLE = 13
"""Longest cycle that is looked for, in tokens: about a second."""

REPEATED_SHARE = 0.9
"""Share of the tokens that must repeat; the rest may be stray, so that a cycle with a slip counts,
and so does speech of nearly one token, whose entropy is close to zero."""

DEFAULT_COLLAPSE_S = 15.0
"""Far longer than the pauses of speech, which are repeated tokens as well."""

MIN_COLLAPSE_S = 2.0


class CollapseGuard:
    """Watches the speech tokens of one reply.

    It has collapsed when, over a whole window, nearly every token is the one that came a fixed
    number of tokens before it.

    Args:
        window_s: Seconds of speech that must repeat themselves, at least `MIN_COLLAPSE_S`.

    Raises:
        ConfigError: If the window is shorter or no number.
    """

    def __init__(self, window_s: float = DEFAULT_COLLAPSE_S) -> None:
        if not (math.isfinite(window_s) and window_s >= MIN_COLLAPSE_S):
            raise ConfigError(
                f"collapse_s {window_s}; expected at least {MIN_COLLAPSE_S:g} seconds, or None for "
                "no guard"
            )
        self._window = math.ceil(window_s * SPEECH_TOKEN_RATE)
        self._recent: deque[int] = deque(maxlen=self._window + MAX_CYCLE)
        self._n_repeats = [0] * (MAX_CYCLE + 1)  # in the window, by length of the cycle

    def feed(self, code: int) -> bool:
        """Take the next speech token; tell whether the speech has collapsed."""
        recent = self._recent
        n_seen = len(recent)
        for cycle in range(1, min(MAX_CYCLE, n_seen) + 1):
            self._n_repeats[cycle] += recent[-cycle] == code
            leaving = n_seen - self._window  # leaves the window as this one comes
            if leaving >= cycle:
                self._n_repeats[cycle] -= recent[leaving] == recent[leaving - cycle]
        recent.append(code)
        return max(self._n_repeats) >= REPEATED_SHARE * self._window
