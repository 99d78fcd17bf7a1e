"""A store whose conversations outlive it: a server that is started again knows them by their ids.

Each is a folder with its clips and a record; the record is written whenever something was said.
"""

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from antiphon.realtime.conversation_record import RECORD_NAME, ConversationRecord
from antiphon.realtime.conversation_store import (
    ID_PATTERN,
    ConversationItem,
    ConversationStore,
    StoredConversation,
)

logger = logging.getLogger(__name__)


class KeptConversations(ConversationStore):
    """Conversations in a folder that stays.

    Args:
        root: The folder; what is in it from before is known again.
        model: Names the vocabulary of the token ids; conversations with another model are not
            known here, for their ids would mean something else.
        max_conversations: Most conversations in memory.
        idle_s: Seconds after which an idle one is forgotten, on disk too.
        max_kept: Most conversations on disk that are not in memory; the newest stay.
    """

    def __init__(
        self,
        root: Path,
        model: str,
        max_conversations: int = 256,
        idle_s: float = 7200,
        max_kept: int = 1024,
    ) -> None:
        super().__init__(root, max_conversations, idle_s)
        self._model, self._max_kept = model, max_kept
        self.sweep()

    def get(self, conversation_id: str) -> StoredConversation | None:
        """Give a conversation from memory or, after a restart, from its folder."""
        found = super().get(conversation_id)
        if found is None and ID_PATTERN.fullmatch(conversation_id):
            return self._read(conversation_id)
        return found

    def sweep(self) -> None:
        """Forget all that were idle too long, and the oldest of too many that are only on disk."""
        super().sweep()
        limit = time.time() - self._idle_s
        for number, (changed, folder) in enumerate(sorted(self._put_away(), reverse=True)):
            if changed < limit or number >= self._max_kept:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Write what was not written yet; everything stays on disk."""
        for each in tuple(self._conversations.values()):
            self._drop(each)

    def _put_away(self) -> Iterator[tuple[float, Path]]:
        """Give when each that is only on disk was changed, and its folder."""
        for record in self.root.glob(f"*/{RECORD_NAME}"):
            folder = record.parent
            if ID_PATTERN.fullmatch(folder.name) and folder.name not in self._conversations:
                with suppress(FileNotFoundError):  # another page that keeps here forgot it
                    yield record.stat().st_mtime, folder

    def _make_root(self, root: Path) -> Path:
        return root  # made by the caller, or by `ConversationStore` for its owner alone

    def _begin(self, conversation_id: str) -> StoredConversation:
        conversation = StoredConversation(
            conversation_id,
            self.root / conversation_id,
            on_change=lambda: self._write(conversation),
        )
        self._conversations[conversation_id] = conversation
        return conversation

    def _drop(self, conversation: StoredConversation) -> None:
        self._write(conversation)
        del self._conversations[conversation.id]

    def _write(self, conversation: StoredConversation) -> None:
        """Write the record, unless nothing was ever said."""
        if not conversation.items and not conversation.folder.exists():
            return
        items = tuple(item.to_record() for item in conversation.items)
        record = ConversationRecord(self._model, items, conversation.session.turns)
        record.write(conversation.folder)

    def _read(self, conversation_id: str) -> StoredConversation | None:
        record = ConversationRecord.read(self.root / conversation_id)
        if record is None or record.model != self._model:
            return None
        idle = [each for each in self._conversations.values() if each.is_idle]
        if len(self) >= self._max and idle:
            self._drop(min(idle, key=lambda each: each.touched))
        conversation = self._begin(conversation_id)
        try:
            found = [ConversationItem.from_json(i, conversation.folder) for i in record.items]
        except TypeError as error:
            logger.warning("conversation %s cannot be read: %s", conversation_id, error)
            del self._conversations[conversation_id]
            return None
        conversation.items += found
        for turn in record.turns:
            conversation.session.append(turn)
        return conversation
