"""A stored conversation as the page uses it: one question at a time, and its items as bubbles.

Knows nothing of Gradio's components; what people see lives in the conversation store alone.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

import numpy as np

from antiphon.api.realtime_messages import Json, new_id
from antiphon.audio import Waveform, write_wav
from antiphon.demo.labels import Phrases
from antiphon.dialogue.session import Session
from antiphon.realtime.conversation_store import (
    ConversationItem,
    ConversationStore,
    StoredConversation,
)

Ending = Literal["completed", "cut", "failed"]


class Clip(TypedDict):
    """A sound file inside a message."""

    path: str
    alt_text: str


class Message(TypedDict):
    """One bubble of the chat."""

    role: Literal["user", "assistant"]
    content: list[str | Clip]


@dataclass(eq=False)
class Exchange:
    """A question of the page that is being answered.

    Attributes:
        stopped: Set when it must end.
        settled: Set when it has ended.
        draft: What the reply says so far.
    """

    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    draft: str | None = None


@dataclass(eq=False)
class BrowserTab:
    """What one browser tab has under way; Gradio keeps it for as long as the tab is open."""

    exchange: Exchange | None = None


@dataclass(eq=False)
class Conversation:
    """One conversation and the question of the page that is being answered in it, if any."""

    stored: StoredConversation
    _exchanges: dict[str, Exchange]

    @property
    def id(self) -> str:
        """What the browser keeps it by."""
        return self.stored.id

    @property
    def session(self) -> Session:
        """The dialogue behind it."""
        return self.stored.session

    @property
    def items(self) -> Sequence[ConversationItem]:
        """What was said, oldest first."""
        return tuple(self.stored.items)

    @property
    def exchange(self) -> Exchange | None:
        """The question under way."""
        return self._exchanges.get(self.id)

    @property
    def is_answering(self) -> bool:
        """Whether a turn is under way, here or in a call."""
        return self.exchange is not None or self.session.is_answering

    def begin_turn(self) -> Exchange:
        """Note that a turn is under way."""
        self._exchanges[self.id] = Exchange()
        return self._exchanges[self.id]

    def end_turn(self) -> None:
        """Note that the turn is over and wake who waits for that."""
        exchange = self._exchanges.pop(self.id, None)
        if exchange is not None:
            exchange.settled.set()

    def stop(self) -> None:
        """Ask the turn under way, if any, to end at once."""
        if self.exchange is not None:
            self.exchange.stopped.set()

    async def settle(self, timeout_s: float) -> None:
        """Wait until no turn of the page is under way, at most `timeout_s` seconds."""
        if self.exchange is not None:
            async with asyncio.timeout(timeout_s):
                await self.exchange.settled.wait()

    def clear(self) -> None:
        """Forget all that was said."""
        self.session.cancel()
        self.stored.clear()

    def add_text(self, text: str) -> None:
        """Add what was typed."""
        self.stored.put(ConversationItem(new_id("item"), "user", "text", text))

    def add_speech(self, waveform: Waveform, sample_rate: int) -> None:
        """Add what was spoken, (n_samples,) at `sample_rate` Hz."""
        self._put("user", "", waveform, sample_rate, "completed", {})

    def add_reply(
        self,
        text: str,
        waveform: Waveform | None,
        sample_rate: int,
        status: Ending,
        details: dict[str, Json],
    ) -> ConversationItem:
        """Add a reply that has ended; `waveform` is (n_samples,), None if nothing was spoken."""
        return self._put("assistant", text, waveform, sample_rate, status, details)

    def _put(
        self,
        role: Literal["user", "assistant"],
        text: str,
        waveform: Waveform | None,
        sample_rate: int,
        status: Ending,
        details: dict[str, Json],
    ) -> ConversationItem:
        item_id, clip, audio_ms = new_id("item"), None, 0
        if waveform is not None:
            clip = self.stored.clip_path(item_id)
            write_wav(clip, np.clip(waveform, -1.0, 1.0), sample_rate)
            audio_ms = round(1000 * len(waveform) / sample_rate)
        item = ConversationItem(
            id=item_id,
            role=role,
            kind="speech",
            text=text,
            clip=clip,
            audio_ms=audio_ms,
            status=status,
            details=details,
        )
        self.stored.put(item)
        return item

    def bubbles(self, phrases: Phrases) -> list[Message]:
        """Give all that was said, and what is being said, as the chat shows it."""
        shown = [Message(role=item.role, content=content(item, phrases)) for item in self.items]
        if self.exchange is not None and self.exchange.draft is not None:
            shown.append(Message(role="assistant", content=[self.exchange.draft or "…"]))
        return shown

    def last_reply(self) -> ConversationItem | None:
        """Give the newest reply."""
        replies = (item for item in reversed(self.items) if item.role == "assistant")
        return next(replies, None)


class Conversations:
    """Opens the conversations of a store for the page."""

    def __init__(self, store: ConversationStore) -> None:
        self._store = store
        self._exchanges: dict[str, Exchange] = {}

    def open(self, conversation_id: str | None) -> Conversation:
        """Open a conversation, made if it is new.

        Raises:
            AntiphonError: If that is no conversation's id.
        """
        return Conversation(self._store.open(conversation_id or None), self._exchanges)


def content(item: ConversationItem, phrases: Phrases) -> list[str | Clip]:
    """Write one item as the content of a bubble: words, clip, how it ended."""
    parts: list[str | Clip] = [item.text.strip()] if item.text.strip() else []
    if item.clip is not None and item.clip.exists():
        parts.append(Clip(path=str(item.clip), alt_text=item.role))
    if item.status == "failed":
        reason = error_of(item.details)
        parts.append(f"⚠ {phrases.failed}: {reason}" if reason else f"⚠ {phrases.failed}")
    elif item.status != "completed" and item.heard_ms is not None:
        parts.append(f"■ {phrases.cut_at.format(seconds=item.heard_ms / 1000)}")
    elif item.status != "completed":
        parts.append(f"■ {phrases.stopped}")
    return parts or [phrases.silent if item.role == "assistant" else "…"]


def error_of(details: Mapping[str, Json]) -> str:
    """Give what went wrong in a reply that failed."""
    error = details.get("error")
    return error if isinstance(error, str) else ""


def forget(tab: BrowserTab | None) -> None:
    """Stop what a tab that is gone had under way."""
    if tab is not None and tab.exchange is not None:
        tab.exchange.stopped.set()
