"""Notices that a reply's speech has collapsed: the same few tokens, in turns or at random.

Knows no text.
"""

import math
from collections import Counter, deque

from antiphon.errors import ConfigError

SPEECH_TOKEN_RATE = 12.5
"""Speech tokens in a second of sound, in Hz."""

MAX_CYCLE = 13
"""Longest cycle that is looked for, in tokens: about a second."""

REPEATED_SHARE = 0.9
"""Share of the tokens that must repeat; the rest may be stray, so that a cycle with a slip counts,
and so does speech of nearly one token, whose entropy is close to zero."""

MIN_ENTROPY_BITS = 2.0
"""Bits a token, the most frequent one (as a rule a pause) left out, below which speech has lost its
words though it keeps to no cycle. With it, 15 s of synthesised answers have 6.6 to 7.2."""

DEFAULT_COLLAPSE_S = 15.0
"""Far longer than the pauses of speech, which are repeated tokens as well."""

MIN_COLLAPSE_S = 2.0


class CollapseGuard:
    """Watches the speech tokens of one reply.

    It has collapsed when, over a whole window, nearly every token is the one that came a fixed
    number of tokens before it, or hardly more than a few tokens are used at all.

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
        self._counts: Counter[int] = Counter()  # of the tokens in the window

    def feed(self, code: int) -> bool:
        """Take the next speech token; tell whether the speech has collapsed."""
        recent = self._recent
        n_seen = len(recent)
        for cycle in range(1, min(MAX_CYCLE, n_seen) + 1):
            self._n_repeats[cycle] += recent[-cycle] == code
            leaving = n_seen - self._window  # leaves the window as this one comes
            if leaving >= cycle:
                self._n_repeats[cycle] -= recent[leaving] == recent[leaving - cycle]
        self._counts[code] += 1
        if n_seen >= self._window:
            self._forget(recent[n_seen - self._window])
        recent.append(code)
        if max(self._n_repeats) >= REPEATED_SHARE * self._window:
            return True
        return n_seen + 1 >= self._window and self._entropy() < MIN_ENTROPY_BITS

    def _forget(self, code: int) -> None:
        """Count one token less."""
        self._counts[code] -= 1
        if not self._counts[code]:
            del self._counts[code]

    def _entropy(self) -> float:
        """Bits a token of the window without its most frequent token; 0 if there is no other."""
        counts = sorted(self._counts.values())[:-1]
        total = sum(counts)
        return sum(count / total * math.log2(total / count) for count in counts)
