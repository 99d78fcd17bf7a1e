"""The conversations of all calls and pages: what people see of them, and the dialogue behind.

Use it on the web server's event loop only. Knows no socket and no model.
"""

import logging
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from antiphon.api.realtime_messages import Json, Message
from antiphon.dialogue.session import Session
from antiphon.errors import ConfigError, ServerBusyError

logger = logging.getLogger(__name__)

ID_PATTERN = re.compile(r"[0-9a-f]{32}")
Listener = Callable[["ConversationItem"], None]


@dataclass(frozen=True)
class ConversationItem:
    """What somebody said, as people see it.

    Attributes:
        id: "item_...".
        role: Who said it.
        kind: Whether it was spoken or typed.
        text: Transcript or typed words.
        clip: The sound as a wav file.
        audio_ms: Length of the sound in ms.
        status: How it ended.
        heard_ms: Where a reply was cut.
        details: Timings, tokens, sampling.
    """

    id: str
    role: Literal["user", "assistant"]
    kind: Literal["speech", "text"]
    text: str = ""
    clip: Path | None = None
    audio_ms: int = 0
    status: Literal["completed", "cut", "failed", "cancelled"] = "completed"
    heard_ms: int | None = None
    details: dict[str, Json] = field(default_factory=dict)

    @classmethod
    def from_json(cls, found: Message, folder: Path) -> Self:
        """Read what `to_record` wrote.

        Raises:
            TypeError: If a field is missing or unknown.
        """
        known = {name: value for name, value in found.items() if name != "has_clip"}
        name = known.pop("clip", None)
        clip = folder / Path(name).name if isinstance(name, str) else None
        return cls(**known, clip=clip)  # type: ignore[arg-type]

    def to_record(self) -> Message:
        """Give the form in which it is kept beside its clip."""
        return {**self.to_json(), "clip": None if self.clip is None else self.clip.name}

    def to_json(self) -> Message:
        """Give the form in which `antiphon.history`, `antiphon.item` and downloads hold it."""
        return {
            "id": self.id,
            "role": self.role,
            "kind": self.kind,
            "text": self.text,
            "audio_ms": self.audio_ms,
            "status": self.status,
            "heard_ms": self.heard_ms,
            "details": self.details,
            "has_clip": self.clip is not None,
        }


class StoredConversation:
    """One conversation: items for people, turns for the model, a folder for the clips.

    Attributes:
        id: 32 hex digits.
        session: The dialogue.
        items: What was said, oldest first.
        folder: For clips; goes with the conversation.
        touched: When it was last used, `time.monotonic()`.
        n_open: Calls that hold it; it is not forgotten while there is one.
    """

    def __init__(
        self, conversation_id: str, folder: Path, on_change: Callable[[], None] | None = None
    ) -> None:
        self.id = conversation_id
        self._on_change = on_change
        self.session = Session(session_id=conversation_id)
        self.items: list[ConversationItem] = []
        self.folder = folder
        self.touched = time.monotonic()
        self.n_open = 0
        self._listeners: list[Listener] = []

    @property
    def is_idle(self) -> bool:
        """Whether nobody is using it now."""
        return not (self.n_open or self.session.is_answering)

    def put(self, item: ConversationItem) -> None:
        """Add an item, or change the one with the same id, and tell everybody."""
        self.touched = time.monotonic()
        index = self._index(item.id)
        if index is None:
            self.items.append(item)
        else:
            self.items[index] = item
        self._note_change()
        for listener in tuple(self._listeners):
            listener(item)

    def find(self, item_id: str) -> ConversationItem | None:
        """Give the item with this id."""
        index = self._index(item_id)
        return None if index is None else self.items[index]

    def remove(self, item_id: str) -> ConversationItem | None:
        """Forget an item and its clip; gives it, or None if there is none."""
        index = self._index(item_id)
        if index is None:
            return None
        item = self.items.pop(index)
        self._note_change()
        if item.clip is not None:
            item.clip.unlink(missing_ok=True)
        return item

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` on the event loop with each item that is added or changed.

        Returns:
            Ends the subscription.
        """
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep it from being forgotten until the context is left."""
        self.n_open += 1
        try:
            yield
        finally:
            self.n_open -= 1
            self.touched = time.monotonic()
            self._note_change()

    def clip_path(self, item_id: str) -> Path:
        """Say where the clip of an item belongs; makes the folder, for its owner alone."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.folder / f"{item_id}.wav"

    def clear(self) -> None:
        """Forget everything that was said."""
        self.items.clear()
        self.session.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _note_change(self) -> None:
        if self._on_change is not None:
            self._on_change()

    def _index(self, item_id: str) -> int | None:
        return next((n for n, item in enumerate(self.items) if item.id == item_id), None)


class ConversationStore:
    """All conversations; the ones that were idle longest are forgotten first.

    Args:
        root: Folder below which clips are kept.
        max_conversations: Most conversations.
        idle_s: Seconds after which an idle one is forgotten.

    Attributes:
        root: The store's own folder.
    """

    def __init__(self, root: Path, max_conversations: int = 256, idle_s: float = 7200) -> None:
        if max_conversations < 1 or not idle_s > 0:
            raise ConfigError(
                f"max_conversations {max_conversations} and idle_s {idle_s}; both must be above 0"
            )
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root = self._make_root(root)
        self._max, self._idle_s = max_conversations, idle_s
        self._conversations: dict[str, StoredConversation] = {}

    def __len__(self) -> int:
        return len(self._conversations)

    def open(self, conversation_id: str | None = None) -> StoredConversation:
        """Give a conversation, a new one if the id is None or not known (any more).

        Raises:
            ConfigError: If the id is not 32 hex digits in lower case.
            ServerBusyError: If there are too many, and all are in use.
        """
        if conversation_id is not None and not ID_PATTERN.fullmatch(conversation_id):
            raise ConfigError(
                f"conversation id {conversation_id[:40]!r}; expected 32 digits of 0-9a-f, or none"
            )
        found = self.get(conversation_id) if conversation_id else None
        if found is not None:
            return found
        self.sweep()
        if len(self) >= self._max:
            self._forget_oldest()
        new_id = conversation_id or uuid.uuid4().hex
        return self._begin(new_id)

    def get(self, conversation_id: str) -> StoredConversation | None:
        """Give a known conversation, and note that it was used."""
        found = self._conversations.get(conversation_id)
        if found is not None:
            found.touched = time.monotonic()
        return found

    def sweep(self) -> None:
        """Forget all that were idle too long."""
        limit = time.monotonic() - self._idle_s
        for each in tuple(self._conversations.values()):
            if each.is_idle and each.touched < limit:
                self._forget(each)

    def close(self) -> None:
        """Forget all and delete the clips."""
        for each in tuple(self._conversations.values()):
            self._forget(each)
        shutil.rmtree(self.root, ignore_errors=True)

    def _make_root(self, root: Path) -> Path:
        """Make the folder of this store below the one that was named."""
        return Path(tempfile.mkdtemp(prefix="antiphon-conversations-", dir=root))

    def _begin(self, conversation_id: str) -> StoredConversation:
        """Make an empty conversation."""
        conversation = StoredConversation(conversation_id, self.root / conversation_id)
        self._conversations[conversation_id] = conversation
        return conversation

    def _forget_oldest(self) -> None:
        idle = [each for each in self._conversations.values() if each.is_idle]
        if not idle:
            raise ServerBusyError(
                f"{len(self)} conversations are open, which is the most; come back later"
            )
        self._drop(min(idle, key=lambda each: each.touched))

    def _drop(self, conversation: StoredConversation) -> None:
        """Make room."""
        self._forget(conversation)

    def _forget(self, conversation: StoredConversation) -> None:
        logger.debug("forgetting conversation %s", conversation.id)
        del self._conversations[conversation.id]
        conversation.clear()
