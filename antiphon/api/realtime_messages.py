"""The events the server of a call sends, as JSON objects; version 1 of the wire contract.

Names and fields are those of OpenAI's Realtime API; what is ours begins with `antiphon`. What a
client sends is in `realtime_events`.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
Message = dict[str, Json]
ItemStatus = Literal["completed", "incomplete", "in_progress"]
ResponseStatus = Literal["completed", "cancelled", "failed", "incomplete", "in_progress"]
CallState = Literal["listening", "hearing", "thinking", "speaking"]


@dataclass(frozen=True)
class ErrorInfo:
    """Inside `error`: `{"type": "invalid_request_error", "code": "...", "message": "..."}`.

    `param` names the field and `event_id` the event at fault.
    """

    type: Literal["invalid_request_error", "server_error"]
    code: str
    message: str
    param: str | None = None
    event_id: str | None = None

    def to_json(self) -> "Message":
        """Give the object."""
        return dict(vars(self))


def new_id(kind: str) -> str:
    """Make an id such as "item_4f2c..."; kinds are event, item, resp and sess."""
    return f"{kind}_{uuid.uuid4().hex[:24]}"


def message(type_name: str, **fields: Json) -> Message:
    """Build an event: `message("input_audio_buffer.cleared")`."""
    return {"type": type_name, "event_id": new_id("event"), **fields}


def error(info: ErrorInfo) -> Message:
    """Build an `error`; the call goes on after it."""
    return message("error", error=info.to_json())


def part(kind: str, text: str) -> Message:
    """Build the content of a message: text under `text`, of sound under `transcript`."""
    return {"type": kind, "text" if kind.endswith("text") else "transcript": text}


def item(item_id: str, role: str, content: Sequence[Message], status: ItemStatus) -> Message:
    """Build a message of the conversation."""
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "role": role,
        "status": status,
        "content": list(content),
    }
