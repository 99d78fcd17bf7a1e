"""When words of a reply are expected to be heard, before all of its sound is made.

Knows text and the 13 : 26 rhythm only. A block's text cannot be heard before the block, nor faster
than people speak; when the length of the sound is known, the words are spread over it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.dialogue.heard_reply import TOKEN_MS
from antiphon.dialogue.prompt import N_AUDIO_BLOCK, N_TEXT_BLOCK

BLOCK_MS = N_AUDIO_BLOCK * TOKEN_MS
LETTER_MS = 65
"""A character of an alphabet, about 15 in a second (150 words a minute)."""

SYLLABLE_MS = 230
"""A character that is a syllable (Chinese), about 4.3 in a second."""

PIECES = re.compile(r"\s*[^\s\u3400-\u9fff]+|\s*[\u3400-\u9fff]|\s+")


@dataclass(frozen=True)
class TimedWord:
    """A word, with the space before it, and when it begins in the reply's sound."""

    text: str
    start_ms: int


class WordTimer:
    """The words of one reply."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._n_tokens = 0
        self._next_ms = 0.0

    def push(self, text: str, n_tokens: int) -> list[TimedWord]:
        """Take a stretch of text; tell when its words will likely begin."""
        earliest_ms = self._n_tokens // N_TEXT_BLOCK * BLOCK_MS
        self._n_tokens += n_tokens
        words = []
        for piece in PIECES.findall(text):
            start_ms = max(self._next_ms, earliest_ms)
            words.append(TimedWord(piece, round(start_ms)))
            self._next_ms = start_ms + weight(piece)
            self._pieces.append(piece)
        return words

    def spread(self, audio_ms: float) -> list[TimedWord]:
        """Spread all words over the whole sound, in proportion to how long they take to say."""
        weights = [weight(piece) for piece in self._pieces]
        scale = audio_ms / max(sum(weights), 1)
        starts = cumulative(weights)
        return [
            TimedWord(piece, round(start * scale))
            for piece, start in zip(self._pieces, starts, strict=True)
        ]


def weight(piece: str) -> float:
    """Estimate how long a piece takes to say, in ms."""
    return sum(SYLLABLE_MS if "\u3400" <= c <= "\u9fff" else LETTER_MS for c in piece)


def cumulative(weights: Sequence[float]) -> list[float]:
    """Sum up all that come before each."""
    starts = [0.0]
    for each in weights:
        starts.append(starts[-1] + each)
    return starts[:-1]
