"""Writes a call's messages into the conversation: items for everybody, clips on disk, transcripts.

Sends what the call's own client has to know of them; items from elsewhere are passed on.
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import replace
from typing import Literal

import numpy as np

from antiphon.api.realtime_messages import Message, item, message, part
from antiphon.api.realtime_session import OUTPUT_RATE
from antiphon.audio import Waveform, write_wav
from antiphon.dialogue.responder import Transcribe
from antiphon.dialogue.vad import VAD_RATE
from antiphon.errors import AntiphonError
from antiphon.realtime.answer import Answer
from antiphon.realtime.conversation_store import ConversationItem, StoredConversation
from antiphon.realtime.outbox import Outbox
from antiphon.realtime.utterance import Utterance

logger = logging.getLogger(__name__)


class ItemLog:
    """The items of one call."""

    def __init__(
        self, conversation: StoredConversation, outbox: Outbox, transcribe: Transcribe | None
    ) -> None:
        self._conversation = conversation
        self._outbox = outbox
        self._transcribe = transcribe
        self._own: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsubscribe = conversation.subscribe(self._pass_on)

    @property
    def last_id(self) -> str | None:
        """The newest item of the conversation."""
        items = self._conversation.items
        return items[-1].id if items else None

    async def close(self) -> None:
        """Hear of no more items; clips that are being written are finished first."""
        self._unsubscribe()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def send_history(self) -> None:
        """Send what was said before the call, also if that is nothing: a client may know more."""
        items = [each.to_json() for each in self._conversation.items]
        self._outbox.send(
            message("antiphon.history", conversation_id=self._conversation.id, items=items)
        )

    def add_text(self, item_id: str, text: str) -> None:
        """Add typed words."""
        self._add_user(ConversationItem(item_id, "user", "text", text))

    def add_speech(self, item_id: str, utterance: Utterance) -> None:
        """Add what a person said; the clip follows."""
        added = ConversationItem(item_id, "user", "speech", audio_ms=utterance.duration_ms)
        self._add_user(added)
        self._keep_clip(item_id, utterance.waveform, VAD_RATE)

    def add_reply(self, answer: Answer) -> None:
        """Add a reply that has ended, or change one that was cut later."""
        writer, said = answer.writer, answer.writer.said
        kept, text = answer.kept, said.text
        if answer.heard_ms is not None:
            text = said.beginning(kept.n_text) if kept is not None else text
        self._own.add(writer.item_id)
        before = self._conversation.find(writer.item_id)
        changed = ConversationItem(
            id=writer.item_id,
            role="assistant",
            kind="speech" if said.n_samples else "text",
            text=text,
            clip=before.clip if before else None,
            audio_ms=said.audio_ms,
            status=status_of(answer),
            heard_ms=None if answer.heard_ms is None else round(answer.heard_ms),
            details=details(answer),
        )
        self._conversation.put(changed)
        if said.sound:
            sound, said.sound = said.sound, []  # memory goes as soon as it is on disk
            self._keep_clip(writer.item_id, np.concatenate(sound), OUTPUT_RATE)

    def write_down(self, item_id: str, codes: tuple[int, ...]) -> None:
        """Send and keep the transcript of speech tokens, where the model can make one."""
        if self._transcribe is not None and codes:
            self._start(self._write_down(self._transcribe, item_id, codes))

    def remove(self, item_id: str) -> bool:
        """Forget an item; tells whether there was one."""
        return self._conversation.remove(item_id) is not None

    def wire_item(self, item_id: str) -> Message | None:
        """Give an item in OpenAI's form."""
        found = self._conversation.find(item_id)
        return None if found is None else to_wire(found)

    def _add_user(self, added: ConversationItem) -> None:
        previous = self.last_id
        self._own.add(added.id)
        self._conversation.put(added)
        wire = to_wire(added)
        for kind in ("conversation.item.added", "conversation.item.done"):
            self._outbox.send(message(kind, previous_item_id=previous, item=wire))

    async def _write_down(
        self, transcribe: Transcribe, item_id: str, codes: tuple[int, ...]
    ) -> None:
        kind = "conversation.item.input_audio_transcription."
        place: Message = {"item_id": item_id, "content_index": 0}
        try:
            text = await asyncio.to_thread(transcribe, codes)
        except AntiphonError as problem:
            info: Message = {"type": "server_error", "message": str(problem)}
            self._outbox.send(message(kind + "failed", **place, error=info))
            return
        self._outbox.send(message(kind + "delta", **place, delta=text))
        counts: Message = {"type": "tokens", "input_tokens": len(codes), "output_tokens": 0}
        usage: Message = {**counts, "total_tokens": len(codes)}
        self._outbox.send(message(kind + "completed", **place, transcript=text, usage=usage))
        found = self._conversation.find(item_id)
        if found is not None:
            self._conversation.put(replace(found, text=text))

    def _keep_clip(self, item_id: str, waveform: Waveform, sample_rate: int) -> None:
        self._start(self._write_clip(item_id, waveform, sample_rate))

    async def _write_clip(self, item_id: str, waveform: Waveform, sample_rate: int) -> None:
        path = self._conversation.clip_path(item_id)
        try:
            await asyncio.to_thread(write_wav, path, np.clip(waveform, -1, 1), sample_rate)
        except AntiphonError as problem:
            logger.warning("no clip of %s: %s", item_id, problem)
            return
        found = self._conversation.find(item_id)
        if found is None:
            path.unlink(missing_ok=True)
        else:
            self._conversation.put(replace(found, clip=path))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _pass_on(self, changed: ConversationItem) -> None:
        """Show what was said in another window, and that an own clip is there."""
        if changed.id not in self._own or changed.clip is not None:
            self._outbox.send(message("antiphon.item", item=changed.to_json()))


def status_of(answer: Answer) -> Literal["completed", "cut", "failed", "cancelled"]:
    """Say how a reply ended, as people see it."""
    if answer.writer.status == "failed":
        return "failed"
    if answer.heard_ms is not None:
        return "cut" if answer.heard_ms > 0 else "cancelled"
    return "cancelled" if answer.writer.status == "cancelled" else "completed"


def details(answer: Answer) -> Message:
    """Give timings, tokens and sampling of a reply."""
    done, options = answer.done, answer.options
    return {
        "timings": answer.writer.times.to_json(),
        "rtf": done.rtf if done else None,
        "n_text_tokens": len(answer.tokens.text),
        "n_audio_tokens": len(answer.tokens.audio),
        "stop_reason": done.stop_reason if done else None,
        "sampling": {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "max_new_tokens": options.max_new_tokens,
            "seed": options.seed,
            "voice": options.voice,
        },
        "tokens": {
            "user": list(answer.tokens.user),
            "text": list(answer.tokens.text),
            "audio": list(answer.tokens.audio),
        },
    }


def to_wire(shown: ConversationItem) -> Message:
    """Give an item in OpenAI's form."""
    side = "input" if shown.role == "user" else "output"
    kind = f"{side}_{'audio' if shown.kind == 'speech' else 'text'}"
    status: Literal["completed", "incomplete"] = (
        "completed" if shown.status == "completed" else "incomplete"
    )
    return item(shown.id, shown.role, [part(kind, shown.text)], status)
