"""The answers of one call: begun, released, interrupted, and cut where they were heard.

Knows neither the microphone nor who speaks; it is told.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from antiphon.api.realtime_messages import message
from antiphon.api.realtime_session import SessionSettings
from antiphon.audio import ResampleStream, Waveform
from antiphon.dialogue.events import AudioChunk, UserTokens
from antiphon.dialogue.vad import VAD_RATE
from antiphon.realtime.answer import Answer, AnswerParts, Question
from antiphon.realtime.call_settings import turn_options
from antiphon.realtime.conversation_store import StoredConversation
from antiphon.realtime.item_log import ItemLog
from antiphon.realtime.outbox import Outbox
from antiphon.realtime.parts import RealtimeParts
from antiphon.realtime.pending_input import JoinedQuestion
from antiphon.realtime.response_writer import ResponseWriter
from antiphon.realtime.utterance import Utterance

TRUNCATE_WAIT_S = 1.0
"""How long an interrupted client may take to say how much it played."""

MAX_ANSWERS = 8
"""Replies of a call that can still be cut."""


class CallAnswers:
    """The answers of one call.

    Args:
        parts: What all calls share.
        conversation: Whose history it is.
        outbox: Where events go.
        log: The items.
        is_binary: How sound is sent.
        on_change: Called when a reply begins to sound, or ends.
        on_sound: Gets all sound that the client will play, (n,) float32 at `VAD_RATE`, and whether
            it is the first of a reply.

    Attributes:
        newest: The newest that was released.
        active_at: When an answer last began or ended, `time.monotonic()`.
    """

    def __init__(
        self,
        parts: RealtimeParts,
        conversation: StoredConversation,
        outbox: Outbox,
        log: ItemLog,
        *,
        is_binary: bool,
        on_change: Callable[[], None],
        on_sound: Callable[[Waveform, bool], None],
    ) -> None:
        self.newest: Answer | None = None
        self.active_at = time.monotonic()
        self._parts = parts
        self._conversation = conversation
        self._outbox = outbox
        self._log = log
        self._is_binary = is_binary
        self._on_change = on_change
        self._on_sound_sent = on_sound
        self._lock = asyncio.Lock()
        self._by_item: OrderedDict[str, Answer] = OrderedDict()
        self._questions: dict[Answer, str] = {}  # the message each is about
        self._uncut: Answer | None = None  # interrupted, its client has not said where
        self._waiting: tuple[JoinedQuestion, SessionSettings] | None = None
        self._cut_timer: asyncio.TimerHandle | None = None
        self._resampler: ResampleStream | None = None

    @property
    def is_responding(self) -> bool:
        """Whether a response is under way."""
        return self.newest is not None and self.newest.is_active

    @property
    def is_playing(self) -> bool:
        """Whether the client most likely plays a reply."""
        return self.newest is not None and self.newest.playback.is_playing

    @property
    def is_speaking(self) -> bool:
        """Whether a reply is heard, or will go on as soon as there is more of it."""
        has_begun = self.newest is not None and self.newest.playback.sent_ms > 0
        return self.is_playing or (self.is_responding and has_begun)

    @property
    def remaining_s(self) -> float:
        """How long the sound that was sent will most likely go on."""
        return self.newest.playback.remaining_s if self.newest is not None else 0.0

    def find(self, item_id: str) -> Answer | None:
        """Give one of the last answers by the item of its reply."""
        return self._by_item.get(item_id)

    def ask_next(self, joined: JoinedQuestion, settings: SessionSettings, ms: float) -> None:
        """Answer now, or when the reply under way has ended; `ms` since the person ended."""
        if self.is_responding:
            self._waiting = (joined, settings)
        else:
            self.ask(joined, settings, ms)

    def ask(
        self, joined: JoinedQuestion, settings: SessionSettings, endpoint_ms: float = 0.0
    ) -> None:
        """Answer now.

        Args:
            joined: The question.
            settings: Of this response.
            endpoint_ms: Time since the person ended.
        """
        if joined.n_left_out:
            words = f"{joined.n_left_out} earlier messages were not put to the model: one turn "
            words += "holds words or speech, not both"
            self._outbox.send(message("antiphon.warning", code="messages_left_out", message=words))
        self._resolve_uncut()
        answer = joined.answer
        if answer is None or settings != answer.writer.settings or answer.is_over:
            answer = None
        self._drop_unreleased(answer)
        if answer is None:
            answer = self.begin(joined.question, settings, joined.item_id)
        if isinstance(joined.question, Utterance):
            joined.question.source.end()
        self._release(answer, endpoint_ms, joined.item_id)

    def cancel(self, response_id: str | None) -> bool:
        """Stop the response under way; False if there is none, or another."""
        answer = self.newest
        if answer is None or not answer.is_active:
            return False
        if response_id is not None and answer.writer.response_id != response_id:
            return False
        self.interrupt("client_cancelled")
        return True

    def truncate(self, item_id: str, heard_ms: float) -> bool:
        """Cut a reply where the client stopped playing it; False if it is not known."""
        answer = self._by_item.get(item_id)
        if answer is None:
            return False
        if answer is self._uncut:
            self._forget_uncut()
        if answer.is_active:
            answer.stop("client_cancelled")
        answer.playback.flush()
        self._cut(answer, heard_ms)
        return True

    def forget(self, item_id: str) -> None:
        """Keep the turn of a message, of either side, out of the history."""
        for answer, question_id in tuple(self._questions.items()):
            if item_id in (question_id, answer.writer.item_id):
                answer.forget()

    def interrupt(self, reason: str) -> None:
        """Stop the newest reply.

        What was heard of it is known when the client tells, or by its player.

        Args:
            reason: "turn_detected" or "client_cancelled".
        """
        answer = self.newest
        if answer is None:
            return
        answer.stop(reason)
        if answer.writer.said.n_samples:
            self._resolve_uncut()
            self._uncut = answer
            loop = asyncio.get_running_loop()
            self._cut_timer = loop.call_later(TRUNCATE_WAIT_S, self._resolve_uncut)
        elif answer.options.speak:
            self._cut(answer, 0.0)
        self._on_change()

    async def close(self) -> None:
        """Stop everything; returns when nothing runs."""
        newest = self.newest
        if newest is not None and newest.playback.is_reported and self.is_playing:
            self.interrupt("client_cancelled")
        elif newest is not None and newest.is_active:
            newest.stop("client_cancelled")  # all that was sent may have been heard
        self._waiting = None
        self._resolve_uncut()
        for each in tuple(self._questions):
            await each.close()

    def begin(self, question: Question, settings: SessionSettings, item_id: str) -> Answer:
        """Let the pipeline begin; nothing is sent before the answer is released."""
        parts = AnswerParts(
            responder=self._parts.responder,
            session=self._conversation.session,
            outbox=self._outbox,
            layout=self._parts.layout,
            max_wait_s=self._parts.options.max_wait_s,
            pace=self._parts.pace,
            lock=self._lock,
            on_tokens=self._on_tokens,
            on_sound=self._on_sound,
            on_finished=self._on_finished,
            on_settled=self._on_settled,
        )
        options = turn_options(settings, self._parts.options.voices)
        writer = ResponseWriter(self._outbox, self._conversation.id, settings, self._is_binary)
        answer = Answer(parts, question, options, writer)
        self._questions[answer] = item_id
        return answer

    def _drop_unreleased(self, but: Answer | None) -> None:
        """Drop what was begun for others: it holds the dialogue and waits for its question's end.

        Its question is asked again as a whole when it is complete.
        """
        for each in tuple(self._questions):
            if each is not but and not each.is_released:
                each.drop()

    def _release(self, answer: Answer, endpoint_ms: float, item_id: str) -> None:
        """The question is complete: the reply may come."""
        self.active_at = time.monotonic()
        self.newest = answer
        self._questions[answer] = item_id
        self._by_item[answer.writer.item_id] = answer
        if len(self._by_item) > MAX_ANSWERS:
            _, oldest = self._by_item.popitem(last=False)
            self._questions.pop(oldest, None)
        self._resampler = None
        answer.release(endpoint_ms, item_id)

    def _on_tokens(self, answer: Answer, event: UserTokens) -> None:
        self._log.write_down(self._questions[answer], event.speech_tokens)

    def _on_sound(self, answer: Answer, event: AudioChunk) -> None:
        """Tell what will be heard at the client."""
        if answer is not self.newest:
            return
        is_first = self._resampler is None
        if self._resampler is None:
            self._resampler = ResampleStream(event.sample_rate, VAD_RATE)
        samples = self._resampler.push(np.asarray(event.waveform, np.float32))
        self._on_sound_sent(samples, is_first)
        self._on_change()

    def _on_finished(self, answer: Answer) -> None:
        """Keep what was said."""
        if answer.writer.has_item:
            self._log.add_reply(answer)

    def _on_settled(self, answer: Answer) -> None:
        """Keep what was heard; go on with a turn that waited."""
        if not answer.is_released:
            self._questions.pop(answer, None)
            return
        self.active_at = time.monotonic()
        if answer.writer.has_item and answer.heard_ms is not None:
            self._log.add_reply(answer)  # the text that was heard is known now
        if answer.writer.settings.antiphon.show_tokens:
            self._send_tokens(answer)
        self._on_change()
        if self._waiting is not None and not self.is_responding:
            (joined, settings), self._waiting = self._waiting, None
            self.ask(joined, settings)

    def _send_tokens(self, answer: Answer) -> None:
        tokens = answer.tokens
        self._outbox.send(
            message(
                "antiphon.tokens",
                item_id=answer.writer.item_id,
                user=list(tokens.user),
                text=list(tokens.text),
                audio=list(tokens.audio),
            )
        )

    def _resolve_uncut(self) -> None:
        """Cut an interrupted reply by what is known of the player."""
        answer = self._uncut
        if answer is not None:
            self._forget_uncut()
            self._cut(answer, answer.playback.heard_ms)

    def _forget_uncut(self) -> None:
        self._uncut = None
        if self._cut_timer is not None:
            self._cut_timer.cancel()
            self._cut_timer = None

    def _cut(self, answer: Answer, heard_ms: float) -> None:
        answer.cut(heard_ms)
        if answer.settled.is_set() and answer.writer.has_item:
            self._log.add_reply(answer)


def take_back(answer: Answer) -> Waveform | None:
    """Give a spoken question whose answer has not been heard at all, to be asked as one with more.

    The person paused and goes on: what comes belongs to what was said.
    """
    question = answer.question
    if not isinstance(question, Utterance) or answer.writer.said.n_samples:
        return None
    answer.forget()
    return question.heard
