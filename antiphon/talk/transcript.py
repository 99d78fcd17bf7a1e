"""What was said in a conversation, line by line, and which words of a reply were heard yet.

Knows nothing of the terminal or the socket.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from antiphon.talk.call_settings import Fields

USER, ASSISTANT = "user", "assistant"
OPEN = "in_progress"


@dataclass(frozen=True)
class Word:
    """A piece of a reply's text and when it begins to be heard."""

    text: str
    start_ms: float


@dataclass
class Line:
    """What one side said in one turn.

    Attributes:
        item_id: Its id in the conversation.
        role: USER or ASSISTANT.
        text: Typed, spoken, or written down by the recogniser; "" where nobody knows.
        status: OPEN, then how it ended: completed, cancelled, incomplete, failed.
        words: When its words are heard, where the server says so.
        heard_ms: Where it was cut, if it was.
    """

    item_id: str
    role: str
    text: str = ""
    status: str = OPEN
    words: list[Word] = field(default_factory=list)
    heard_ms: int | None = None

    def heard(self, played_ms: float) -> str:
        """Give the beginning of the text that is heard once `played_ms` were played.

        Text without times counts as heard with the word before it.
        """
        place = 0
        for word in self.words:
            start = self.text.find(word.text.strip(), place)
            if start < 0:  # the text was changed meanwhile
                continue
            if word.start_ms > played_ms:
                return self.text[:place]
            place = start + len(word.text.strip())
        return self.text


class Transcript:
    """The lines of a conversation in their order."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def find(self, item_id: str) -> Line | None:
        """Look up a line."""
        return next((line for line in self.lines if line.item_id == item_id), None)

    def open(self, item_id: str, role: str) -> Line:
        """Give the line of an item; it begins if there is none yet."""
        line = self.find(item_id)
        if line is None:
            line = Line(item_id, role)
            self.lines.append(line)
        return line

    def load(self, item: Fields) -> Line | None:
        """Take an item of the conversation as the server keeps it; None if it is not one."""
        item_id, role = item.get("id"), item.get("role")
        if not isinstance(item_id, str) or role not in (USER, ASSISTANT):
            return None
        line = self.open(item_id, str(role))
        line.text = item_text(item) or line.text
        line.status = str(item.get("status") or line.status)
        heard_ms = item.get("heard_ms")
        line.heard_ms = heard_ms if isinstance(heard_ms, int) else line.heard_ms
        return line

    def remove(self, item_id: str) -> None:
        """Drop a line, if it is there."""
        self.lines = [line for line in self.lines if line.item_id != item_id]


def item_text(item: Fields) -> str:
    """Read the words of an item: its `text`, or those of its content."""
    text = item.get("text")
    if isinstance(text, str):
        return text
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    found = [
        part.get("transcript") or part.get("text") for part in parts if isinstance(part, Mapping)
    ]
    return " ".join(text for text in found if isinstance(text, str))


def read_words(value: object) -> list[Word]:
    """Read a list of {text, start_ms}; what is none is left out."""
    rows = value if isinstance(value, list) else []
    words = []
    for row in rows:
        if isinstance(row, Mapping) and isinstance(row.get("start_ms"), int | float):
            words.append(Word(str(row.get("text", "")), float(row["start_ms"])))
    return words
