"""Who speaks when in one call: turns of the person, answers, interruptions, the history's cut.

Called by `Call` with events that are known to be well-formed. Knows no wire format of events that
come in.
"""

import asyncio
import time
from collections import OrderedDict

import numpy as np

from antiphon.api.realtime_events import Playback
from antiphon.api.realtime_messages import CallState, message, new_id
from antiphon.api.realtime_session import ServerVad, SessionSettings
from antiphon.audio import ResampleStream, Waveform
from antiphon.dialogue.events import AudioChunk, UserTokens
from antiphon.dialogue.vad import VAD_RATE
from antiphon.realtime.answer import Answer, AnswerParts, Question
from antiphon.realtime.call_settings import endpointer_options, turn_detection, turn_options
from antiphon.realtime.conversation_store import StoredConversation
from antiphon.realtime.echo_guard import EchoGuard
from antiphon.realtime.item_log import ItemLog
from antiphon.realtime.microphone import Microphone
from antiphon.realtime.outbox import Outbox
from antiphon.realtime.parts import RealtimeParts
from antiphon.realtime.pending_input import JoinedQuestion, PendingMessage, join
from antiphon.realtime.response_writer import ResponseWriter
from antiphon.realtime.turn_taking import TurnEnded, TurnSound, TurnStarted, TurnTaker
from antiphon.realtime.utterance import Utterance

TRUNCATE_WAIT_S = 1.0
"""How long an interrupted client may take to say how much it played."""

MAX_ANSWERS = 8
"""Replies of a call that can still be cut."""


class OpenTurn:
    """What a person is saying: the sound, and the answer that hears it already, if any."""

    def __init__(self, before: Waveform | None) -> None:
        self.item_id = new_id("item")
        self.utterance = Utterance(before)
        self.answer: Answer | None = None


class CallTurns:
    """The turns of one call.

    Attributes:
        settings: As the client settled them.
        log: The items.
    """

    def __init__(
        self,
        parts: RealtimeParts,
        conversation: StoredConversation,
        outbox: Outbox,
        *,
        is_binary: bool,
    ) -> None:
        self.settings: SessionSettings = parts.options.settings
        self.log = ItemLog(conversation, outbox, parts.transcribe)
        self._parts = parts
        self._conversation = conversation
        self._outbox = outbox
        self._is_binary = is_binary
        self._microphone = Microphone(self.settings.audio.input.format.rate)
        self._guard = EchoGuard()
        self._taker = TurnTaker(
            parts.detector.open_stream(),
            endpointer_options(turn_detection(self.settings) or ServerVad()),
            self._guard,
        )
        self._lock = asyncio.Lock()
        self._open: OpenTurn | None = None
        self._pending: list[PendingMessage] = []
        self._answers: OrderedDict[str, Answer] = OrderedDict()  # by item
        self._questions: dict[Answer, str] = {}  # the message each is about
        self._answer: Answer | None = None  # the newest that was released
        self._uncut: Answer | None = None  # interrupted, its client has not said where
        self._waiting: JoinedQuestion | None = None  # until the reply under way has ended
        self._cut_timer: asyncio.TimerHandle | None = None
        self._state_timer: asyncio.TimerHandle | None = None
        self._state: CallState | None = None
        self._active_at = time.monotonic()
        self._quiet_since_ms: float | None = None
        self._to_guard: ResampleStream | None = None

    # What the outside asks

    @property
    def is_responding(self) -> bool:
        """Whether a response is under way."""
        return self._answer is not None and self._answer.is_active

    @property
    def is_playing(self) -> bool:
        """Whether the client most likely plays a reply."""
        return self._answer is not None and self._answer.playback.is_playing

    @property
    def idle_s(self) -> float:
        """Seconds since anybody said anything."""
        if self.is_responding or self.is_playing or self._open is not None:
            return 0.0
        return time.monotonic() - self._active_at

    def change(self, settings: SessionSettings) -> None:
        """Use other settings from now on."""
        before, self.settings = turn_detection(self.settings), settings
        self._microphone.change_rate(settings.audio.input.format.rate)
        detection = turn_detection(settings)
        if (before is None) != (detection is None):
            self.clear()
        if detection is not None:
            self._taker.change(endpointer_options(detection))

    def hear(self, data: bytes) -> None:
        """Take PCM16 of the microphone."""
        samples = self._microphone.push(data)
        detection = turn_detection(self.settings)
        if detection is None:
            self._take_held(samples)
            return
        is_busy = self.is_playing or self.is_responding
        self._taker.is_deaf = self.settings.antiphon.half_duplex and is_busy
        self._guard.is_active = self.settings.antiphon.echo_guard and self.is_playing
        for event in self._taker.push(samples):
            if isinstance(event, TurnStarted):
                self._begin_turn(event, detection)
            elif isinstance(event, TurnSound) and self._open is not None:
                self._open.utterance.push(event.samples)
            elif isinstance(event, TurnEnded):
                self._end_turn(event, detection)
        self._check_quiet(detection)

    def commit(self) -> bool:
        """The client says that the person has ended; False if nobody had begun."""
        turn, self._open = self._open, None
        ended = self._taker.end()
        if turn is None or not turn.utterance.duration_ms:
            return False
        if ended is not None:
            self._tell_stopped(ended.end_ms, turn)
        self._keep(turn)
        return True

    def clear(self) -> None:
        """Forget what is being said."""
        self._taker.end()
        turn, self._open = self._open, None
        if turn is not None and turn.answer is not None:
            turn.answer.drop()

    def add_text(self, item_id: str, text: str) -> None:
        """Add typed words; they wait for an answer."""
        self._touch()
        self.log.add_text(item_id, text)
        self._pending.append(PendingMessage(item_id, text=text))

    def add_clip(self, item_id: str, sounds: list[bytes]) -> None:
        """Add recorded speech; it waits for an answer."""
        self._touch()
        microphone = Microphone(self.settings.audio.input.format.rate)
        utterance = Utterance()
        for sound in sounds:
            utterance.push(microphone.push(sound))
        utterance.push(microphone.finish())
        utterance.source.end()
        self.log.add_speech(item_id, utterance)
        self._pending.append(PendingMessage(item_id, utterance=utterance))

    def take_pending(self) -> list[PendingMessage]:
        """Give the messages that wait, and forget them."""
        waiting, self._pending = self._pending, []
        return waiting

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
        if answer is None or settings != answer.writer.settings or answer.settled.is_set():
            if answer is not None:
                answer.drop()
            answer = self._begin_answer(joined.question, settings, joined.item_id)
        if isinstance(joined.question, Utterance):
            joined.question.source.end()
        self._release(answer, endpoint_ms, joined.item_id)

    def cancel(self, response_id: str | None) -> bool:
        """Stop the response under way; False if there is none, or another."""
        answer = self._answer
        if answer is None or not answer.is_active:
            return False
        if response_id is not None and answer.writer.response_id != response_id:
            return False
        self._interrupt(answer, "client_cancelled")
        return True

    def truncate(self, item_id: str, heard_ms: float) -> bool:
        """Cut a reply where the client stopped playing it; False if it is not known."""
        answer = self._answers.get(item_id)
        if answer is None:
            return False
        if answer is self._uncut:
            self._forget_uncut()
        if answer.is_active:
            answer.stop("client_cancelled")
        answer.playback.flush()
        self._cut(answer, heard_ms)
        return True

    def delete(self, item_id: str) -> bool:
        """Forget a message, for people and for the model; False if it is not known."""
        for answer, question_id in tuple(self._questions.items()):
            if item_id in (question_id, answer.writer.item_id):
                answer.forget()
        self._pending = [each for each in self._pending if each.item_id != item_id]
        return self.log.remove(item_id)

    def note_playback(self, report: Playback) -> None:
        """Take a client's report of its player."""
        answer = self._answers.get(report.item_id)
        if answer is not None:
            answer.playback.note_report(report.played_ms, report.is_playing)
            self._guard.note_position(report.played_ms, self._microphone.heard_ms)

    async def close(self) -> None:
        """Stop everything; returns when nothing runs."""
        self.clear()
        for timer in (self._cut_timer, self._state_timer):
            if timer is not None:
                timer.cancel()
        answer = self._answer
        if answer is not None and (answer.is_active or answer.playback.is_playing):
            self._interrupt(answer, "client_cancelled")
        self._resolve_uncut()
        self._waiting = None
        for each in tuple(self._questions):
            await each.close()
        await self.log.close()

    def show_state(self) -> None:
        """Send `antiphon.state` if it changed."""
        state = self._find_state()
        if state != self._state:
            self._state = state
            self._outbox.send(message("antiphon.state", state=state))
        if self._state_timer is not None:
            self._state_timer.cancel()
            self._state_timer = None
        if state == "speaking" and self._answer is not None:
            loop = asyncio.get_running_loop()
            wait_s = self._answer.playback.remaining_s + 0.05
            self._state_timer = loop.call_later(wait_s, self.show_state)

    # A person's turn

    def _take_held(self, samples: Waveform) -> None:
        """Hear while the person holds the key; an answer listens from the first sample."""
        if not len(samples):
            return
        if self._open is None:
            self._touch()
            turn = self._open = OpenTurn(None)
            turn.answer = self._begin_answer(turn.utterance, self.settings, turn.item_id)
        self._open.utterance.push(samples)

    def _begin_turn(self, event: TurnStarted, detection: ServerVad) -> None:
        """Somebody begins to speak, maybe into a reply."""
        self._touch()
        answer, before = self._answer, None
        is_interrupting = detection.interrupt_response and (self.is_responding or self.is_playing)
        if answer is not None and is_interrupting:
            before = take_back(answer)
        turn = self._open = OpenTurn(before)
        turn.utterance.push(event.samples)
        self._outbox.send(
            message(
                "input_audio_buffer.speech_started",
                audio_start_ms=event.start_ms,
                item_id=turn.item_id,
            )
        )
        if answer is not None and is_interrupting:
            self._interrupt(answer, "turn_detected")
        if detection.create_response:
            turn.answer = self._begin_answer(turn.utterance, self.settings, turn.item_id)
        self.show_state()

    def _end_turn(self, event: TurnEnded, detection: ServerVad) -> None:
        """The person has ended, or it was noise."""
        turn, self._open = self._open, None
        if turn is None:
            return
        self._tell_stopped(event.end_ms, turn)
        if not event.is_speech and not turn.utterance.goes_on:
            if turn.answer is not None:
                turn.answer.drop()
            self._outbox.send(message("input_audio_buffer.cleared"))
            self.show_state()
            return
        self._keep(turn)
        if detection.create_response:
            joined = join(self.take_pending())
            if self.is_responding:
                self._waiting = joined
            else:
                self.ask(joined, self.settings, self._microphone.heard_ms - event.end_ms)
        self.show_state()

    def _tell_stopped(self, end_ms: int, turn: OpenTurn) -> None:
        self._outbox.send(
            message("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=turn.item_id)
        )

    def _keep(self, turn: OpenTurn) -> None:
        """Make a message of what was said; it waits for an answer."""
        self._touch()
        self._outbox.send(
            message(
                "input_audio_buffer.committed",
                item_id=turn.item_id,
                previous_item_id=self.log.last_id,
            )
        )
        self.log.add_speech(turn.item_id, turn.utterance)
        self._pending.append(
            PendingMessage(turn.item_id, utterance=turn.utterance, answer=turn.answer)
        )

    def _check_quiet(self, detection: ServerVad) -> None:
        """Tell once when nobody spoke for long after a reply, where the client wants to know."""
        if self.is_playing or self.is_responding or self._open is not None:
            self._quiet_since_ms = self._microphone.heard_ms
        limit, since_ms = detection.idle_timeout_ms, self._quiet_since_ms
        if limit is None or since_ms is None or self._microphone.heard_ms - since_ms < limit:
            return
        self._quiet_since_ms = None
        self._outbox.send(
            message(
                "input_audio_buffer.timeout_triggered",
                audio_start_ms=round(since_ms),
                audio_end_ms=round(self._microphone.heard_ms),
                item_id=self.log.last_id or "",
            )
        )

    # Answers

    def _begin_answer(self, question: Question, settings: SessionSettings, item_id: str) -> Answer:
        """Let the pipeline begin; nothing is sent before the answer is released."""
        parts = AnswerParts(
            responder=self._parts.responder,
            session=self._conversation.session,
            outbox=self._outbox,
            layout=self._parts.layout,
            max_wait_s=self._parts.options.max_wait_s,
            lock=self._lock,
            on_tokens=self._on_tokens,
            on_sound=self._on_sound,
            on_settled=self._on_settled,
        )
        options = turn_options(settings, self._parts.options.voices)
        writer = ResponseWriter(self._outbox, self._conversation.id, settings, self._is_binary)
        answer = Answer(parts, question, options, writer)
        self._questions[answer] = item_id
        return answer

    def _release(self, answer: Answer, endpoint_ms: float, item_id: str) -> None:
        """The question is complete: the reply may come."""
        self._touch()
        self._answer = answer
        self._questions[answer] = item_id
        self._answers[answer.writer.item_id] = answer
        if len(self._answers) > MAX_ANSWERS:
            _, oldest = self._answers.popitem(last=False)
            self._questions.pop(oldest, None)
        self._guard.begin()
        self._to_guard = None
        answer.release(endpoint_ms, item_id)

    def _on_tokens(self, answer: Answer, event: UserTokens) -> None:
        self.log.write_down(self._questions[answer], event.speech_tokens)

    def _on_sound(self, answer: Answer, event: AudioChunk) -> None:
        """Tell the guard what will be heard."""
        if answer is not self._answer:
            return
        if self._to_guard is None:
            self._to_guard = ResampleStream(event.sample_rate, VAD_RATE)
            self._guard.note_position(0.0, self._microphone.heard_ms)
        self._guard.add(self._to_guard.push(np.asarray(event.waveform, np.float32)))
        self.show_state()

    def _on_settled(self, answer: Answer) -> None:
        """Keep what was said; go on with a turn that waited."""
        if not answer.is_released:
            self._questions.pop(answer, None)
            return
        self._touch()
        if answer.writer.has_item:
            self.log.add_reply(answer)
        if self.settings.antiphon.show_tokens:
            self._send_tokens(answer)
        self.show_state()
        if self._waiting is not None and not self.is_responding:
            joined, self._waiting = self._waiting, None
            self.ask(joined, self.settings)

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

    # Interruptions

    def _interrupt(self, answer: Answer, reason: str) -> None:
        """Stop a reply; what was heard of it is known when the client tells, or by its player."""
        answer.stop(reason)
        if answer.writer.said.n_samples:
            self._resolve_uncut()
            self._uncut = answer
            loop = asyncio.get_running_loop()
            self._cut_timer = loop.call_later(TRUNCATE_WAIT_S, self._resolve_uncut)
        elif answer.options.speak:
            self._cut(answer, 0.0)
        self.show_state()

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
            self.log.add_reply(answer)

    # Signs of life

    def _find_state(self) -> CallState:
        if self._open is not None:
            return "hearing"
        if self.is_playing:
            return "speaking"
        return "thinking" if self.is_responding else "listening"

    def _touch(self) -> None:
        self._active_at = time.monotonic()


def take_back(answer: Answer) -> Waveform | None:
    """Give a spoken question whose answer has not been heard at all, to be asked as one with more.

    The person paused and goes on: what comes belongs to what was said.
    """
    question = answer.question
    if not isinstance(question, Utterance) or answer.writer.said.n_samples:
        return None
    answer.forget()
    return question.heard
