"""Text ids to text as they arrive, never cutting a character in two. Knows nothing of audio."""

from antiphon.dialogue.events import TextDelta
from antiphon.models.base import TextTokenizer

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
MAX_HELD_IDS = 8  # UTF-8 characters have at most 4 bytes, so more ids never complete one


class TextStream:
    """The text of one reply; holds ids back while their last character is incomplete.

    A reply may begin with a space, which is how its first word is like any other; it is not shown.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.text = ""
        self._tokenizer = tokenizer
        self._held: list[int] = []

    def push(self, token_id: int) -> TextDelta | None:
        """Take one id; return the text it completes, if any: spaces at the beginning do not."""
        self._held.append(token_id)
        text = self._tokenizer.decode(self._held)
        is_incomplete = text.endswith(REPLACEMENT) or not (self.text or text.strip())
        if is_incomplete and len(self._held) < MAX_HELD_IDS:
            return None
        return self._release(text)

    def flush(self) -> TextDelta | None:
        """Return what is held, with U+FFFD where the reply ended inside a character."""
        return self._release(self._tokenizer.decode(self._held)) if self._held else None

    def _release(self, text: str) -> TextDelta:
        if not self.text:
            text = text.lstrip()
        delta = TextDelta(text, tuple(self._held))
        self._held.clear()
        self.text += text
        return delta
