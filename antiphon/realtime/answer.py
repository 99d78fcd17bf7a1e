"""One answer: asks the pipeline, while the person still speaks where that helps, and writes.

Knows the pipeline's protocol and the writer. Nothing is written before `release`; an answer that is
dropped before leaves no trace.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from antiphon.api.realtime_messages import ErrorInfo, Message, ResponseStatus, error, message
from antiphon.dialogue.events import AudioChunk, Event, TextDelta, TurnDone, TurnFailed, UserTokens
from antiphon.dialogue.heard_reply import HeardReply
from antiphon.dialogue.responder import Responder
from antiphon.dialogue.session import Session, Turn, UserTurn
from antiphon.dialogue.turn_pipeline import TurnOptions
from antiphon.errors import AntiphonError, EngineError, ServerBusyError
from antiphon.models.base import TokenLayout
from antiphon.realtime.outbox import Outbox
from antiphon.realtime.playback import ReplyPlayback
from antiphon.realtime.response_writer import ResponseWriter
from antiphon.realtime.sound_pace import PacedSound, SoundPace

logger = logging.getLogger(__name__)

RETRY_S = 2.0
"""Wait between tries at a full server that does not say when to come back."""

BUSY_ELSEWHERE = (
    "this conversation is answering in another window; wait until that reply has ended, or stop it"
)


class Question(Protocol):
    """What is to be answered."""

    def live_turn(self) -> UserTurn:
        """Give it for the first try; may still be going on."""
        ...

    def whole_turn(self) -> UserTurn:
        """Give it again, complete."""
        ...


@dataclass(frozen=True)
class AnswerParts:
    """What an answer is made with.

    Attributes:
        responder: Answers.
        session: The dialogue.
        outbox: Where events go.
        layout: Needed to cut the history.
        max_wait_s: How long to wait for a full server.
        pace: How long first sounds wait.
        lock: Held while the dialogue is used; one answer of a call after the other.
        on_tokens: Gets the person's speech tokens.
        on_sound: Gets all sound that is sent, as it is sent.
        on_finished: Called when the response has ended, before its client can know.
        on_settled: Called when nothing of it runs any more and the history is right.
    """

    responder: Responder
    session: Session
    outbox: Outbox
    layout: TokenLayout | None
    max_wait_s: float
    pace: SoundPace
    lock: asyncio.Lock
    on_tokens: Callable[["Answer", UserTokens], None]
    on_sound: Callable[["Answer", AudioChunk], None]
    on_finished: Callable[["Answer"], None]
    on_settled: Callable[["Answer"], None]


@dataclass
class Tokens:
    """The ids of a turn, for token views."""

    user: tuple[int, ...] = ()
    text: list[int] = field(default_factory=list)
    audio: list[int] = field(default_factory=list)


class Answer:
    """Answers one question.

    Attributes:
        writer: Writes the response.
        playback: How far its sound is.
        tokens: Of both sides.
        done: The pipeline's last word, if it came to that.
        heard_ms: Where the reply was cut; None if it was heard to its end.
        turn: The turn in the history, once it is there.
    """

    def __init__(
        self,
        parts: AnswerParts,
        question: Question,
        options: TurnOptions,
        writer: ResponseWriter,
    ) -> None:
        self.writer = writer
        self.question = question
        self.options = options
        self.playback = ReplyPlayback()
        self.tokens = Tokens()
        self.done: TurnDone | None = None
        self.heard_ms: float | None = None
        self.turn: Turn | None = None
        self.kept: HeardReply | None = None
        self.settled = asyncio.Event()
        self._parts = parts
        self._sound = PacedSound(parts.pace, self._send_sound)
        self._is_forgotten = False
        self._is_dropped = False
        self._released = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda _: self._settle())  # also if it never ran

    @property
    def is_released(self) -> bool:
        """Whether the question is complete."""
        return self._released.is_set()

    @property
    def is_over(self) -> bool:
        """Whether it will not come any more: it has ended, or was dropped."""
        return self._is_dropped or self.settled.is_set()

    @property
    def is_active(self) -> bool:
        """Whether the response is under way."""
        return self.writer.is_active

    def release(self, endpoint_ms: float, item_id: str | None) -> None:
        """The question is complete: `response.created`, then whatever comes.

        Args:
            endpoint_ms: Time since the person ended.
            item_id: The message that is answered.
        """
        self.writer.begin(endpoint_ms, item_id)
        self._released.set()

    def drop(self) -> None:
        """There is no question after all, or it is asked again."""
        self._is_dropped = True
        self._task.cancel()

    def stop(self, reason: str) -> None:
        """End the response at once; what was made and not sent is dropped.

        Args:
            reason: "turn_detected" or "client_cancelled".
        """
        if self.is_active:
            self._finish("cancelled", {"type": "cancelled", "reason": reason})
        self.playback.flush()
        self._task.cancel()

    def cut(self, heard_ms: float) -> None:
        """Let the history hold only what was heard, now or as soon as the reply is in it."""
        heard_ms = min(max(heard_ms, 0), self.writer.said.audio_ms)
        if heard_ms >= self.writer.said.audio_ms and self.writer.status == "completed":
            return
        self.heard_ms = heard_ms
        if self.settled.is_set():
            self._cut_history()

    def forget(self) -> None:
        """Keep the turn out of the history: its question is asked again as part of another."""
        self._is_forgotten = True
        if self.turn is not None:
            self._parts.session.remove(self.turn)

    async def close(self) -> None:
        """End it and wait until nothing of it runs."""
        self._task.cancel()
        await self.settled.wait()

    async def _run(self) -> None:
        """Wait for the answer before this one, then answer."""
        try:
            async with self._parts.lock:
                await self._answer()
        except AntiphonError as problem:
            self._fail(problem)
        except Exception:
            logger.exception("an answer failed")
            self._fail(EngineError("the server failed on this reply; its log says why"))

    def _settle(self) -> None:
        """Cut the turn that joined the history where the reply was cut."""
        self.settled.set()
        if self.turn is not None and self._is_forgotten:
            self._parts.session.remove(self.turn)
        if self.heard_ms is not None:
            self._cut_history()
        self._parts.on_settled(self)

    def _cut_history(self) -> None:
        if self.turn is None or self._parts.layout is None or self.heard_ms is None:
            return
        self.turn, self.kept = self._parts.session.cut(self.turn, self.heard_ms, self._parts.layout)

    async def _answer(self) -> None:
        """Ask until it is answered: the whole question again when the first try came to nothing."""
        failure = await self._attempt(self.question.live_turn())
        was_early = not self.is_released
        deadline = time.monotonic() + self._parts.max_wait_s
        while failure is not None:
            await self._released.wait()
            if not was_early:
                if not isinstance(failure, ServerBusyError) or time.monotonic() > deadline:
                    raise failure
                await self._wait_in_queue(failure)
            was_early = False
            failure = await self._attempt(self.question.whole_turn())

    async def _attempt(self, user_turn: UserTurn) -> AntiphonError | None:
        """Ask once; returns why there is nothing to say, if that is so."""
        session = self._parts.session
        before = last_turn(session)
        if session.is_answering:
            return ServerBusyError(BUSY_ELSEWHERE, retry_after_s=RETRY_S)
        events = self._parts.responder.respond(session, user_turn, self.options)
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, TurnFailed):
                        return self._note_failure(event)
                    await self._released.wait()
                    await self._take(event)
        finally:
            last = last_turn(session)
            self.turn = last if last is not before else None
        return None

    def _note_failure(self, event: TurnFailed) -> AntiphonError:
        """Give the error for another try; raises it if something was said already."""
        problem = event.error or EngineError(event.message)
        if self.writer.said.pieces or self.writer.said.n_samples:
            raise problem
        return problem

    async def _take(self, event: Event) -> None:
        if isinstance(event, UserTokens):
            self.writer.mark_tokenised()
            self.tokens.user = event.speech_tokens
            self._parts.on_tokens(self, event)
        elif isinstance(event, TextDelta):
            self.tokens.text += event.token_ids
            self.writer.write_text(event.text, len(event.token_ids))
        elif isinstance(event, AudioChunk):
            await self._parts.outbox.wait_for_room()
            self._sound.push(event)
        elif isinstance(event, TurnDone):
            self._sound.flush()
            self._end(event)

    def _send_sound(self, chunk: AudioChunk) -> None:
        self.tokens.audio += chunk.speech_tokens
        self.writer.write_sound(chunk.waveform, chunk.sample_rate)
        self.playback.note_sent(self.writer.said.audio_ms)
        self._parts.on_sound(self, chunk)

    def _end(self, done: TurnDone) -> None:
        """Write how the reply ended."""
        self.done = done
        own: Message = {
            "rtf": done.rtf,
            "n_text_tokens": done.n_text_tokens,
            "n_audio_tokens": done.n_audio_tokens,
            "stop_reason": done.stop_reason,
            "n_dropped_turns": done.n_dropped_turns,
        }
        if done.stop_reason == "stop":
            self._finish("completed", None, own)
        elif done.stop_reason == "cancelled":
            self._finish("cancelled", {"type": "cancelled", "reason": "client_cancelled"}, own)
        else:
            reason = {"type": "incomplete", "reason": "max_output_tokens"}
            self._finish("incomplete", dict(reason), own)

    def _finish(
        self, status: ResponseStatus, why: Message | None = None, own: Message | None = None
    ) -> None:
        """Write the end of the response; sound that still waits is dropped."""
        self._sound.drop()
        if self.is_active:
            self.writer.finish(status, why, own)
            if self.writer.said.n_samples:  # the last samples came with the end
                self.playback.note_sent(self.writer.said.audio_ms)
            self._parts.on_finished(self)

    def _fail(self, problem: AntiphonError) -> None:
        """Say what went wrong, inside the response and as an event."""
        if not self.is_active:
            return
        code = "server_busy" if isinstance(problem, ServerBusyError) else "response_failed"
        info = ErrorInfo("server_error", code, str(problem))
        self._parts.outbox.send(error(info))
        self._finish("failed", {"type": "failed", "error": info.to_json()})

    async def _wait_in_queue(self, problem: ServerBusyError) -> None:
        """Tell the place in the queue and wait."""
        position = None if problem.queue_length is None else problem.queue_length + 1
        wait_s = problem.retry_after_s or RETRY_S
        self._parts.outbox.send(
            message("antiphon.queue", position=position, retry_after_s=wait_s, text=str(problem))
        )
        await asyncio.sleep(wait_s)


def last_turn(session: Session) -> Turn | None:
    """Give the newest turn."""
    return session.turns[-1] if session.turns else None
