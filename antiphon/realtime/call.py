"""One call: a client's events and sound in, the events of the conversation out.

The state machine between microphone, answers and history. Knows no socket: it is handed frames and
fills an outbox, all on one event loop. What a person says begins here and in `call_turns`.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Never

from pydantic import ValidationError

from antiphon.api import realtime_events as events
from antiphon.api.realtime_messages import ErrorInfo, error, message, new_id
from antiphon.api.realtime_session import merge
from antiphon.errors import AntiphonError
from antiphon.realtime.call_settings import (
    check,
    for_response,
    notices,
    session_json,
)
from antiphon.realtime.call_turns import CallTurns
from antiphon.realtime.conversation_store import StoredConversation
from antiphon.realtime.microphone import decode_base64
from antiphon.realtime.outbox import Outbox
from antiphon.realtime.parts import RealtimeParts
from antiphon.realtime.pending_input import join

YIELD_BYTES = 32_000
"""Sound handled at once, so that a client that sends a file does not hold up others."""


class WireError(AntiphonError):
    """An event that cannot be done; becomes an `error` with this code."""

    def __init__(self, code: str, words: str, param: str | None = None) -> None:
        """Say what is wrong, and with which field."""
        super().__init__(words)
        self.code, self.param = code, param


class Call:
    """One client in one conversation; open it, hand it frames, close it."""

    def __init__(
        self,
        parts: RealtimeParts,
        conversation: StoredConversation,
        outbox: Outbox,
        *,
        is_binary: bool,
        model: str | None = None,
    ) -> None:
        self.id = new_id("sess")
        self._parts = parts
        self._outbox = outbox
        self._model = model or parts.options.model
        self._turns = CallTurns(parts, conversation, outbox, is_binary=is_binary)

    @property
    def idle_s(self) -> float:
        """Seconds since anybody said anything."""
        return self._turns.idle_s

    def open(self) -> None:
        """Greet the client."""
        wire = session_json(self.id, self._model, self._turns.settings)
        self._outbox.send(message("session.created", session=wire))
        self._turns.log.send_history()
        self._turns.show_state()

    async def close(self) -> None:
        """Stop what is under way; returns when nothing of the call runs."""
        await self._turns.close()

    async def take_sound(self, data: bytes) -> None:
        """Take a binary frame of PCM16."""
        for start in range(0, len(data), YIELD_BYTES):
            try:
                self._turns.hear(data[start : start + YIELD_BYTES])
            except AntiphonError as problem:
                self._turns.clear()
                self._refuse(problem, None)
            await asyncio.sleep(0)

    async def take_event(self, text: str) -> None:
        """Take a text frame; whatever is wrong with it becomes an `error` event."""
        event_id: str | None = None
        try:
            content = read_json(text)
            wanted = content.get("event_id")
            event_id = wanted if isinstance(wanted, str) else None
            await self._handle(read_event(content))
        except AntiphonError as problem:
            self._refuse(problem, event_id)

    def warn(self, code: str, text: str) -> None:
        """Send an `antiphon.warning`."""
        self._outbox.send(message("antiphon.warning", code=code, message=text))

    def _refuse(self, problem: AntiphonError, event_id: str | None) -> None:
        own = problem if isinstance(problem, WireError) else None
        info = ErrorInfo(
            type="invalid_request_error",
            code=own.code if own else "invalid_value",
            message=str(problem),
            param=own.param if own else None,
            event_id=event_id,
        )
        self._outbox.send(error(info))

    async def _handle(self, event: events.AnyClientEvent) -> None:
        if isinstance(event, events.AudioAppend):
            await self.take_sound(decode_base64(event.audio))
            return
        handlers: dict[type, Callable[..., None]] = {
            events.SessionUpdate: self._update,
            events.AudioCommit: lambda _: self._commit(),
            events.AudioClear: lambda _: self._clear(),
            events.ItemCreate: self._create_item,
            events.ItemTruncate: self._truncate,
            events.ItemDelete: self._delete,
            events.ItemRetrieve: self._retrieve,
            events.ResponseCreate: self._respond,
            events.ResponseCancel: self._cancel,
            events.Playback: self._note_playback,
            events.Ping: self._pong,
        }
        handlers[type(event)](event)
        self._turns.show_state()

    def _update(self, event: events.SessionUpdate) -> None:
        old, voices = self._turns.settings, self._parts.options.voices
        try:
            new = merge(old, event.session)
        except ValidationError as problem:
            refuse_fields(problem, "session")
        check(new)
        self._turns.change(new)
        wire = session_json(self.id, self._model, new)
        self._outbox.send(message("session.updated", session=wire))
        for notice in notices(old, new, voices):
            self.warn(notice.code, notice.text)

    def _commit(self) -> None:
        if not self._turns.commit():
            raise WireError(
                "input_audio_buffer_commit_empty",
                "there is no sound to commit; send input_audio_buffer.append first",
            )

    def _clear(self) -> None:
        self._turns.clear()
        self._outbox.send(message("input_audio_buffer.cleared"))

    def _create_item(self, event: events.ItemCreate) -> None:
        """Add a message that was typed or recorded elsewhere."""
        wanted = event.item
        if wanted.type != "message" or wanted.role != "user":
            raise WireError(
                "unsupported_item",
                f"an item of type {wanted.type!r} and role {wanted.role!r}; only messages of role "
                "'user' can be added",
                "item",
            )
        item_id = wanted.id or new_id("item")
        if self._turns.log.wire_item(item_id) is not None:
            raise WireError("item_exists", f"there is an item {item_id!r} already", "item.id")
        texts = [c.text for c in wanted.content if c.type == "input_text" and c.text]
        sounds = [c.audio for c in wanted.content if c.type == "input_audio" and c.audio]
        if bool(texts) == bool(sounds):
            raise WireError(
                "invalid_item",
                "a message needs content of type input_text with text, or input_audio with audio",
                "item.content",
            )
        if texts:
            self._turns.add_text(item_id, "\n".join(texts))
        else:
            self._turns.add_clip(item_id, [decode_base64(sound) for sound in sounds])

    def _truncate(self, event: events.ItemTruncate) -> None:
        if not self._turns.answers.truncate(event.item_id, event.audio_end_ms):
            raise WireError(
                "item_not_found",
                f"no reply {event.item_id!r} of this call can be cut",
                "item_id",
            )
        self._outbox.send(
            message(
                "conversation.item.truncated",
                item_id=event.item_id,
                content_index=event.content_index,
                audio_end_ms=event.audio_end_ms,
            )
        )

    def _delete(self, event: events.ItemDelete) -> None:
        if not self._turns.delete(event.item_id):
            raise WireError("item_not_found", f"there is no item {event.item_id!r}", "item_id")
        self._outbox.send(message("conversation.item.deleted", item_id=event.item_id))

    def _retrieve(self, event: events.ItemRetrieve) -> None:
        wire = self._turns.log.wire_item(event.item_id)
        if wire is None:
            raise WireError("item_not_found", f"there is no item {event.item_id!r}", "item_id")
        self._outbox.send(message("conversation.item.retrieved", item=wire))

    def _respond(self, event: events.ResponseCreate) -> None:
        """Answer the messages that wait."""
        if self._turns.answers.is_responding:
            raise WireError(
                "conversation_already_has_active_response",
                "a response is under way; wait for response.done or send response.cancel",
            )
        waiting = self._turns.take_pending()
        if not waiting:
            raise WireError(
                "nothing_to_answer",
                "there is no new message to answer; commit sound or create an item first",
            )
        settings = for_response(self._turns.settings, event.response)
        self._turns.answers.ask(join(waiting), settings)

    def _cancel(self, event: events.ResponseCancel) -> None:
        if not self._turns.answers.cancel(event.response_id):
            raise WireError("response_cancel_not_active", "no response is under way")

    def _note_playback(self, event: events.Playback) -> None:
        self._turns.note_playback(event)

    def _pong(self, event: events.Ping) -> None:
        now = asyncio.get_running_loop().time()
        self._outbox.send(message("antiphon.pong", t=event.t, server_t=now))


def read_json(text: str) -> dict[str, object]:
    """Read a JSON object.

    Raises:
        WireError: If it is none.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise WireError("invalid_json", f"the event is not JSON: {problem}") from problem
    if not isinstance(content, dict):
        raise WireError("invalid_json", "the event is not a JSON object")
    return content


def read_event(content: dict[str, object]) -> events.AnyClientEvent:
    """Read an event.

    Raises:
        WireError: If it is not known, or a field is wrong.
    """
    try:
        return events.CLIENT_EVENTS.validate_python(content)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        if str(first["type"]).startswith("union_tag"):
            name = str(content.get("type"))[:100]
            raise WireError("unknown_event", f"no event {name!r} is known", "type") from problem
        refuse_fields(problem, None)


def refuse_fields(problem: ValidationError, place: str | None) -> Never:
    """Raise the first of pydantic's complaints as an error of ours."""
    first = problem.errors(include_url=False)[0]
    where = [str(each) for each in first["loc"] if "." not in str(each)]  # no names of events
    param = ".".join([place, *where] if place else where)
    raise WireError("invalid_value", f"{param}: {first['msg']}", param) from problem
