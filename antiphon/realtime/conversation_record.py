"""A conversation as a file, so that it outlives its server: what people see, and the turns behind.

Knows no store; items are JSON here.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from antiphon.api.realtime_messages import Message
from antiphon.dialogue.session import Turn, TurnKind

logger = logging.getLogger(__name__)

RECORD_NAME = "conversation.json"


class TurnOnDisk(BaseModel):
    """A turn's token ids."""

    model_config = ConfigDict(strict=True, extra="forbid")

    kind: TurnKind
    user_ids: list[int]
    reply_ids: list[int]


class FileOnDisk(BaseModel):
    """The whole file."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: str
    items: list[dict[str, JsonValue]]
    turns: list[TurnOnDisk]


@dataclass(frozen=True)
class ConversationRecord:
    """What is kept of a conversation.

    Attributes:
        model: Which vocabulary the token ids belong to.
        items: In the form of downloads, each with the name of its clip or None as `clip`.
        turns: As the model reads them.
    """

    model: str
    items: tuple[Message, ...]
    turns: tuple[Turn, ...]

    def write(self, folder: Path) -> None:
        """Write the file, whole or not at all; a full disk is logged and nothing more."""
        turns = [
            {"kind": turn.kind, "user_ids": list(turn.user_ids), "reply_ids": list(turn.reply_ids)}
            for turn in self.turns
        ]
        document = {"model": self.model, "items": list(self.items), "turns": turns}
        path = folder / RECORD_NAME
        draft = path.with_suffix(".draft")
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            logger.warning("cannot keep a conversation in %s: %s", folder, error)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the file; None where there is none, or none that can be read."""
        path = folder / RECORD_NAME
        try:
            found = FileOnDisk.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            logger.warning("cannot read %s, which is left out: %s", path, error)
            return None
        turns = (Turn(t.kind, tuple(t.user_ids), tuple(t.reply_ids)) for t in found.turns)
        return cls(found.model, tuple(dict(item) for item in found.items), tuple(turns))
