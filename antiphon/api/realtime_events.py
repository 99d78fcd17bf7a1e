"""The events a client of a call may send, with an example each; version 1 of the wire contract.

Names and fields are those of OpenAI's Realtime API; what is ours begins with `antiphon.`. Unknown
fields are ignored. What the server sends is in `realtime_messages`.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from antiphon.api.realtime_session import Lenient, ResponseSettings

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Longest text frame taken; base64 of some 4 minutes at 24 kHz."""

MAX_TEXT_LENGTH = 100_000
MS = Annotated[int, Field(ge=0, le=10**9)]


class ClientEvent(Lenient):
    """What all events have: an id that comes back in an `error`."""

    event_id: str | None = Field(default=None, max_length=512)


class SessionUpdate(ClientEvent):
    """`{"type": "session.update", "session": {"type": "realtime", "temperature": 0.5}}`."""

    type: Literal["session.update"]
    session: dict[str, object]


class AudioAppend(ClientEvent):
    """`{"type": "input_audio_buffer.append", "audio": "AAAA"}`: base64 of PCM16."""

    type: Literal["input_audio_buffer.append"]
    audio: str


class AudioCommit(ClientEvent):
    """`{"type": "input_audio_buffer.commit"}`: the person has ended."""

    type: Literal["input_audio_buffer.commit"]


class AudioClear(ClientEvent):
    """`{"type": "input_audio_buffer.clear"}`: forget what was heard since the last commit."""

    type: Literal["input_audio_buffer.clear"]


class InputContent(Lenient):
    """`{"type": "input_text", "text": "Hello"}`, or `input_audio` with base64 in `audio`."""

    type: str
    text: str | None = Field(default=None, max_length=MAX_TEXT_LENGTH)
    audio: str | None = None
    transcript: str | None = Field(default=None, max_length=MAX_TEXT_LENGTH)


class InputItem(Lenient):
    """A message to add to the conversation."""

    type: str = "message"
    role: str = "user"
    id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    content: tuple[InputContent, ...] = ()


class ItemCreate(ClientEvent):
    """Add a message.

    Example: `{"type": "conversation.item.create", "item": {"type": "message", "role": "user",
    "content": [{"type": "input_text", "text": "Hello"}]}}`.
    """

    type: Literal["conversation.item.create"]
    item: InputItem


class ItemTruncate(ClientEvent):
    """Tell how much of a reply was heard.

    Example: `{"type": "conversation.item.truncate", "item_id": "item_1", "content_index": 0,
    "audio_end_ms": 1520}`.
    """

    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: int = 0
    audio_end_ms: MS


class ItemDelete(ClientEvent):
    """`{"type": "conversation.item.delete", "item_id": "item_1"}`."""

    type: Literal["conversation.item.delete"]
    item_id: str


class ItemRetrieve(ClientEvent):
    """`{"type": "conversation.item.retrieve", "item_id": "item_1"}`."""

    type: Literal["conversation.item.retrieve"]
    item_id: str


class ResponseCreate(ClientEvent):
    """`{"type": "response.create"}`: answer what is there."""

    type: Literal["response.create"]
    response: ResponseSettings = ResponseSettings()


class ResponseCancel(ClientEvent):
    """`{"type": "response.cancel"}`: stop the reply under way."""

    type: Literal["response.cancel"]
    response_id: str | None = None


class Playback(ClientEvent):
    """How far the client's player is; every 200 ms while a reply plays, and once when it ends.

    Example: `{"type": "antiphon.playback", "item_id": "item_1", "played_ms": 640,
    "buffered_ms": 120, "underruns": 0, "is_playing": true}`.
    """

    type: Literal["antiphon.playback"]
    item_id: str
    played_ms: float = Field(ge=0, le=1e9)
    buffered_ms: float = Field(default=0, ge=0, le=1e9)
    underruns: MS = 0
    is_playing: bool = True


class Ping(ClientEvent):
    """`{"type": "antiphon.ping", "t": 12.5}`; answered with `antiphon.pong` and the same `t`."""

    type: Literal["antiphon.ping"]
    t: float | str | None = None


AnyClientEvent = (
    SessionUpdate
    | AudioAppend
    | AudioCommit
    | AudioClear
    | ItemCreate
    | ItemTruncate
    | ItemDelete
    | ItemRetrieve
    | ResponseCreate
    | ResponseCancel
    | Playback
    | Ping
)
CLIENT_EVENTS: TypeAdapter[AnyClientEvent] = TypeAdapter(
    Annotated[AnyClientEvent, Field(discriminator="type")]
)
"""Reads an event: `CLIENT_EVENTS.validate_python(json)`; raises pydantic.ValidationError."""
