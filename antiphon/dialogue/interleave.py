"""One token stream to text ids and speech tokens.

Trusts the ids, not the 13 : 26 rhythm, as the original does. Nothing the model says can
break it: ids that are neither text nor speech are ignored and counted.
"""

from dataclasses import dataclass

from antiphon.dialogue.prompt import first_special_id
from antiphon.models.base import TokenLayout


@dataclass(frozen=True)
class TextToken:
    """An id of the text vocabulary."""

    token_id: int


@dataclass(frozen=True)
class AudioToken:
    """A speech token in [0, n_audio)."""

    code: int


@dataclass(frozen=True)
class EndOfTurn:
    """The id that ended the reply."""

    token_id: int


@dataclass(frozen=True)
class IgnoredToken:
    """A special, reserved or padding id, an id out of range, or any id after the end."""

    token_id: int


SplitToken = TextToken | AudioToken | EndOfTurn | IgnoredToken


class InterleaveSplitter:
    """Sorts the ids of one reply.

    Attributes:
        n_text: Text tokens so far.
        n_audio: Speech tokens so far.
        n_ignored: Ids that were neither.
        has_ended: Whether an end id came.
    """

    def __init__(self, layout: TokenLayout) -> None:
        self.n_text = 0
        self.n_audio = 0
        self.n_ignored = 0
        self.has_ended = False
        self._layout = layout
        self._text_end = first_special_id(layout)
        self._stop = frozenset(layout.stop)

    def feed(self, token_id: int) -> SplitToken:
        """Tell what one id is, and count it."""
        code = token_id - self._layout.audio_0
        if self.has_ended:
            self.n_ignored += 1
            return IgnoredToken(token_id)
        if token_id in self._stop:
            self.has_ended = True
            return EndOfTurn(token_id)
        if 0 <= code < self._layout.n_audio:
            self.n_audio += 1
            return AudioToken(code)
        if 0 <= token_id < self._text_end:
            self.n_text += 1
            return TextToken(token_id)
        self.n_ignored += 1
        return IgnoredToken(token_id)
