"""Who speaks when in one call: the person's turns, and what they do to the answers.

Called by `Call` with events that are known to be well-formed. Knows no wire format of events that
come in.
"""

import asyncio
import time

from antiphon.api.realtime_events import Playback
from antiphon.api.realtime_messages import CallState, message, new_id
from antiphon.api.realtime_session import ServerVad, SessionSettings
from antiphon.audio import Waveform
from antiphon.realtime.answer import Answer
from antiphon.realtime.call_answers import CallAnswers, take_back
from antiphon.realtime.call_settings import endpointer_options, turn_detection
from antiphon.realtime.conversation_store import StoredConversation
from antiphon.realtime.echo_guard import EchoGuard
from antiphon.realtime.item_log import ItemLog
from antiphon.realtime.microphone import Microphone
from antiphon.realtime.outbox import Outbox
from antiphon.realtime.parts import RealtimeParts
from antiphon.realtime.pending_input import PendingMessage, join
from antiphon.realtime.turn_taking import TurnEnded, TurnSound, TurnStarted, TurnTaker
from antiphon.realtime.utterance import Utterance

ECHO_TAIL_MS = 800
"""How long after a reply its echo may still come: the echo guard's longest delay."""


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
        answers: What is said back.
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
        self.answers = CallAnswers(
            parts,
            conversation,
            outbox,
            self.log,
            is_binary=is_binary,
            on_change=self.show_state,
            on_sound=self._on_sound,
        )
        self._outbox = outbox
        self._microphone = Microphone(self.settings.audio.input.format.rate)
        self._guard = EchoGuard()
        self._taker = TurnTaker(
            parts.detector.open_stream(),
            endpointer_options(turn_detection(self.settings) or ServerVad()),
            self._guard,
        )
        self._open: OpenTurn | None = None
        self._pending: list[PendingMessage] = []
        self._state_timer: asyncio.TimerHandle | None = None
        self._state: CallState | None = None
        self._active_at = time.monotonic()
        self._quiet_since_ms: float | None = None
        self._echo_until_ms = 0.0

    @property
    def idle_s(self) -> float:
        """Seconds since anybody said anything."""
        if self.is_busy or self._open is not None:
            return 0.0
        return time.monotonic() - max(self._active_at, self.answers.active_at)

    @property
    def is_busy(self) -> bool:
        """Whether a reply is made or played."""
        return self.answers.is_responding or self.answers.is_playing

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
        own = self.settings.antiphon
        self._taker.is_deaf = own.half_duplex and self.is_busy
        self._guard.is_active = own.echo_guard and self._may_echo()
        for event in self._taker.push(samples):
            if isinstance(event, TurnStarted):
                self._begin_turn(event, detection)
            elif isinstance(event, TurnSound) and self._open is not None:
                self._open.utterance.push(event.samples)
            elif isinstance(event, TurnEnded):
                self._end_turn(event, detection)
        self._check_quiet(detection)

    def _may_echo(self) -> bool:
        """Tell whether a reply plays, or ended so shortly ago that its end may be heard yet."""
        if self.answers.is_playing:
            self._echo_until_ms = self._microphone.heard_ms + ECHO_TAIL_MS
        return self._microphone.heard_ms < self._echo_until_ms

    def commit(self) -> bool:
        """The client says that the person has ended; False if nobody had begun."""
        turn, self._open = self._open, None
        ended = self._taker.end()
        if turn is None or not turn.utterance.duration_ms:
            return False
        if ended is not None:
            self._tell_stopped(ended.end_ms, turn)
        elif turn_detection(self.settings) is None:
            turn.utterance.push(self._microphone.flush())
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
        utterance.push(microphone.flush())
        utterance.source.end()
        self.log.add_speech(item_id, utterance)
        self._pending.append(PendingMessage(item_id, utterance=utterance))

    def delete(self, item_id: str) -> bool:
        """Forget a message, for people and for the model; False if it is not known."""
        self.answers.forget(item_id)
        self._pending = [each for each in self._pending if each.item_id != item_id]
        return self.log.remove(item_id)

    def take_pending(self) -> list[PendingMessage]:
        """Give the messages that wait, and forget them."""
        waiting, self._pending = self._pending, []
        return waiting

    def note_playback(self, report: Playback) -> None:
        """Take a client's report of its player."""
        answer = self.answers.find(report.item_id)
        if answer is not None:
            answer.playback.note_report(report.played_ms, report.is_playing)
            if answer is self.answers.newest:
                self._guard.note_position(report.played_ms, self._microphone.heard_ms)

    async def close(self) -> None:
        """Stop everything; returns when nothing runs."""
        self.clear()
        await self.answers.close()
        if self._state_timer is not None:
            self._state_timer.cancel()
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
        if self.answers.is_playing:
            loop = asyncio.get_running_loop()
            wait_s = self.answers.remaining_s + 0.05
            self._state_timer = loop.call_later(wait_s, self.show_state)

    def _take_held(self, samples: Waveform) -> None:
        """Hear while the person holds the key; an answer listens from the first sample."""
        if not len(samples):
            return
        if self._open is None:
            self._touch()
            turn = self._open = OpenTurn(None)
            turn.answer = self.answers.begin(turn.utterance, self.settings, turn.item_id)
        self._open.utterance.push(samples)

    def _begin_turn(self, event: TurnStarted, detection: ServerVad) -> None:
        """Somebody begins to speak, maybe into a reply."""
        self._touch()
        newest = self.answers.newest if detection.interrupt_response and self.is_busy else None
        before = None if newest is None else take_back(newest)
        turn = self._open = OpenTurn(before)
        turn.utterance.push(event.samples)
        self._outbox.send(
            message(
                "input_audio_buffer.speech_started",
                audio_start_ms=event.start_ms,
                item_id=turn.item_id,
            )
        )
        if newest is not None:
            self.answers.interrupt("turn_detected")
        if detection.create_response:
            turn.answer = self.answers.begin(turn.utterance, self.settings, turn.item_id)
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
            waited_ms = self._microphone.heard_ms - event.end_ms
            self.answers.ask_next(joined, self.settings, waited_ms)
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
        if self.is_busy or self._open is not None:
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

    def _on_sound(self, samples: Waveform, is_first: bool) -> None:
        """Tell the guard what will be heard."""
        if is_first:
            self._guard.begin(self._microphone.heard_ms)
        self._guard.add(samples)

    def _find_state(self) -> CallState:
        if self._open is not None:
            return "hearing"
        if self.answers.is_speaking:
            return "speaking"
        return "thinking" if self.answers.is_responding else "listening"

    def _touch(self) -> None:
        self._active_at = time.monotonic()
