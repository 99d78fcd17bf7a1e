"""What a call is doing, as far as the server's events say: state, transcript, open replies.

Pure bookkeeping: sends nothing, plays nothing, waits for nothing.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from antiphon.talk.call_settings import Fields
from antiphon.talk.connection import ServerEvent
from antiphon.talk.transcript import ASSISTANT, OPEN, USER, Transcript, read_words

CONNECTING, LISTENING, HEARING = "connecting", "listening", "hearing"
THINKING, SPEAKING = "thinking", "speaking"
STATES = frozenset((LISTENING, HEARING, THINKING, SPEAKING))
LOST, EMPTY, FAILED, CANCELLED = "lost", "empty", "failed", "cancelled"
UNHEARD = "no speech was heard in it"
MAX_CUT_ITEMS = 64


@dataclass
class Reply:
    """One answered question, while it comes and when it is done.

    Attributes:
        response_id, item_id: Its names; "" while unknown.
        question: What the recogniser understood, or what was typed.
        text: The answer so far.
        status: OPEN, then completed, cancelled, incomplete or failed, as the server says; LOST with
            the connection, EMPTY if the server heard no question.
        error: Why it has no answer.
        n_samples: How much sound came.
        details: Timings and counts of the server (`response.antiphon`).
        heard_ms: Where it was cut by the person, if it was.
        first_sound_at: When its first sound came, as `time.monotonic` counts.
    """

    response_id: str = ""
    item_id: str = ""
    question: str = ""
    text: str = ""
    status: str = OPEN
    error: str = ""
    n_samples: int = 0
    details: Fields = field(default_factory=dict)
    heard_ms: int | None = None
    first_sound_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether more may come."""
        return self.status == OPEN


class CallObserver:
    """Is told what happens in a call; does nothing by itself."""

    def on_text(self, reply: Reply, delta: str) -> None:
        """More text of a reply came."""

    def on_notice(self, message: str) -> None:
        """Something happened that a person should read."""

    def on_reply(self, reply: Reply) -> None:
        """A reply ended, in whatever way; called before anybody who waits for it goes on."""


class CallState:
    """The state of one call.

    Attributes:
        state: CONNECTING, or what the server says it does.
        transcript: Both sides.
        open_reply: The reply that is coming, if one is.
        last_reply: The last that ended with an answer.
        queue_position: Place among those who wait for the model; None when not waiting.
    """

    def __init__(self, observer: CallObserver, on_done: Callable[[Reply], None]) -> None:
        """Start empty; `on_done` gets each reply that ended."""
        self.state = CONNECTING
        self.transcript = Transcript()
        self.open_reply: Reply | None = None
        self.last_reply: Reply | None = None
        self.queue_position: int | None = None
        self._observer = observer
        self._on_done = on_done
        self._cut: list[str] = []
        self._question = ""
        self._handlers: Mapping[str, Callable[[ServerEvent], None]] = {
            "session.created": self._on_session,
            "antiphon.state": self._on_state,
            "antiphon.history": self._on_history,
            "antiphon.item": self._on_item,
            "conversation.item.added": self._on_item,
            "conversation.item.done": self._on_item,
            "conversation.item.deleted": self._on_deleted,
            "conversation.item.truncated": self._on_truncated,
            "conversation.item.input_audio_transcription.delta": self._on_question,
            "conversation.item.input_audio_transcription.completed": self._on_question,
            "input_audio_buffer.speech_started": self._on_speech,
            "input_audio_buffer.speech_stopped": self._on_speech,
            "response.created": self._on_created,
            "response.output_item.added": self._on_output_item,
            "response.output_audio_transcript.delta": self._on_delta,
            "response.output_text.delta": self._on_delta,
            "response.output_audio.delta": self._on_sound,
            "antiphon.words": self._on_words,
            "antiphon.queue": self._on_queue,
            "antiphon.warning": self._on_warning,
            "response.done": self._on_response_done,
        }

    def apply(self, event: ServerEvent) -> None:
        """Take one event into account; unknown ones change nothing."""
        handler = self._handlers.get(event.type)
        if handler is not None:
            handler(event)

    def ask(self, question: str = "") -> None:
        """Note that a question went out, so that the next reply belongs to it."""
        self._question = question
        self.state = THINKING

    def finish(self, status: str, error: str) -> None:
        """End the open reply, or the question that waits for one, without the server's word."""
        reply = self.open_reply or Reply(question=self._question)
        reply.status, reply.error = status, error
        self._close(reply)

    def cut(self, item_id: str, heard_ms: int) -> None:
        """Note that the person heard only so much of a reply; the rest of its sound is dropped."""
        self._cut = [*self._cut[-MAX_CUT_ITEMS:], item_id]
        line = self.transcript.find(item_id)
        if line is not None:
            line.heard_ms = heard_ms
        if self.open_reply is not None and self.open_reply.item_id == item_id:
            self.open_reply.heard_ms = heard_ms

    def is_cut(self, item_id: str) -> bool:
        """Tell whether the person stopped this reply."""
        return item_id in self._cut

    def _on_session(self, event: ServerEvent) -> None:
        self.state = LISTENING

    def _on_state(self, event: ServerEvent) -> None:
        state = event.text("state")
        self.state = state if state in STATES else self.state
        if state != THINKING:
            self.queue_position = None

    def _on_history(self, event: ServerEvent) -> None:
        items = event.get("items")
        for item in items if isinstance(items, list) else []:
            if isinstance(item, Mapping):
                self.transcript.load(item)

    def _on_item(self, event: ServerEvent) -> None:
        item = event.get("item")
        if not isinstance(item, Mapping):
            return
        line = self.transcript.load(item)
        if line is not None and line.role == USER and self.open_reply is None:
            self._question = line.text or self._question

    def _on_deleted(self, event: ServerEvent) -> None:
        self.transcript.remove(event.text("item_id"))

    def _on_truncated(self, event: ServerEvent) -> None:
        line = self.transcript.find(event.text("item_id"))
        heard_ms = event.number("audio_end_ms")
        if line is not None and heard_ms is not None:
            line.heard_ms = int(heard_ms)

    def _on_question(self, event: ServerEvent) -> None:
        line = self.transcript.open(event.text("item_id"), USER)
        whole = event.text("transcript")
        line.text = whole or line.text + event.text("delta")
        if event.type.endswith("completed"):
            line.status = "completed"
        self._question = line.text
        if self.open_reply is not None:
            self.open_reply.question = line.text

    def _on_speech(self, event: ServerEvent) -> None:
        self.state = HEARING if event.type.endswith("started") else THINKING

    def _on_created(self, event: ServerEvent) -> None:
        self.queue_position = None
        self.open_reply = Reply(event.text("response", "id"), question=self._question)
        self.state = THINKING

    def _on_output_item(self, event: ServerEvent) -> None:
        item_id = event.text("item", "id")
        if self.open_reply is not None and item_id:
            self.open_reply.item_id = item_id
            self.transcript.open(item_id, ASSISTANT)

    def _on_delta(self, event: ServerEvent) -> None:
        reply, delta = self.open_reply, event.text("delta")
        if reply is None or not delta:
            return
        reply.item_id = reply.item_id or event.text("item_id")
        reply.text += delta
        line = self.transcript.open(reply.item_id, ASSISTANT)
        line.text = reply.text
        line.words += read_words(event.get("antiphon", "words"))
        self._observer.on_text(reply, delta)

    def _on_sound(self, event: ServerEvent) -> None:
        self.state = SPEAKING
        reply = self.open_reply
        if reply is None or event.sound is None:
            return
        reply.item_id = reply.item_id or event.text("item_id")
        reply.n_samples += len(event.sound)
        if reply.first_sound_at is None:
            reply.first_sound_at = time.monotonic()

    def _on_words(self, event: ServerEvent) -> None:
        item_id = event.text("item_id") or (self.open_reply.item_id if self.open_reply else "")
        line = self.transcript.find(item_id)
        if line is not None:
            line.words = read_words(event.get("words"))  # all, now that the sound is known

    def _on_queue(self, event: ServerEvent) -> None:
        position = event.number("position")
        self.queue_position = None if position is None else int(position)
        place = "" if position is None else f", place {position:g} in the queue"
        wait_s = event.number("retry_after_s")
        again = "" if wait_s is None else f"; about {wait_s:.0f} s"
        self._observer.on_notice(f"the model is busy{place}{again}")

    def _on_warning(self, event: ServerEvent) -> None:
        self._observer.on_notice(event.text("message") or event.text("code"))

    def _on_response_done(self, event: ServerEvent) -> None:
        reply = self.open_reply
        if reply is None or event.text("response", "id") not in {"", reply.response_id}:
            return
        details = event.get("response", "antiphon")
        reply.details = details if isinstance(details, Mapping) else {}
        reply.status = event.text("response", "status") or "completed"
        reply.error = event.text("response", "status_details", "error", "message")
        if reply.status == FAILED and not reply.error:
            reply.error = "the reply failed; the server's log says why"
        self._close(reply)

    def _close(self, reply: Reply) -> None:
        self.open_reply, self._question, self.queue_position = None, "", None
        line = self.transcript.find(reply.item_id)
        if line is not None:
            line.status = reply.status
        if reply.text:
            self.last_reply = reply
        if self.state == THINKING or not reply.n_samples:
            self.state = LISTENING
        self._observer.on_reply(reply)
        self._on_done(reply)
