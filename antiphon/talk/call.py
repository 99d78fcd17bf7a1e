"""One call: holds the connection and opens it again, asks, plays, stops, reports what was heard.

One object a call, one event loop; `run` lives as long as the call. Knows nothing of devices or of
the terminal: sound goes into a `PlaybackBuffer`, everything else to a `CallObserver`.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from itertools import count

from antiphon.audio import Waveform, float_to_pcm16
from antiphon.errors import (
    AntiphonError,
    ConfigError,
    ServerBusyError,
    ServerConnectionError,
)
from antiphon.talk.call_settings import OUTPUT_RATE, Address, CallSettings, Fields
from antiphon.talk.call_state import (
    CONNECTING,
    EMPTY,
    FAILED,
    HEARING,
    LOST,
    SPEAKING,
    THINKING,
    UNHEARD,
    CallObserver,
    CallState,
    Reply,
)
from antiphon.talk.connection import AUDIO_DELTA, CallEndedError, Connection, ServerEvent
from antiphon.talk.event_log import EventLog
from antiphon.talk.playback_buffer import Playback, PlaybackBuffer
from antiphon.talk.task_race import race

_log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 15.0
SILENCE_TIMEOUT_S = 120.0
"""Longest time without a word from the server while a reply is awaited."""
RECONNECT_S = 60.0
RETRY_S = (0.1, 0.25, 0.5, 1.0, 2.0)
REPORT_S = 0.2
POLL_S = 0.5
PLAY_POLL_S = 0.02
FULL = "server_full"
QUESTIONS = frozenset(("input_audio_buffer.commit", "conversation.item.create", "response.create"))


class Call:
    """A conversation with a server over one websocket at a time.

    Attributes:
        conversation: Its id; the same id goes on with it later.
        settings: How it is held.
        playback: Where the sound of replies goes.
        state: What the server is known to do, and the transcript.
    """

    def __init__(
        self,
        address: Address,
        settings: CallSettings,
        playback: PlaybackBuffer,
        *,
        conversation: str | None = None,
        input_rate: int = OUTPUT_RATE,
        observer: CallObserver | None = None,
        log: EventLog | None = None,
    ) -> None:
        """Prepare a call; nothing is opened before `run`."""
        self.address = address
        self.settings = settings
        self.playback = playback
        self.conversation = conversation or uuid.uuid4().hex
        self._input_rate = input_rate
        self._observer = observer or CallObserver()
        self._log = log or EventLog(None)
        self._replies: asyncio.Queue[Reply] = asyncio.Queue()
        self.state = CallState(self._observer, self._replies.put_nowait)
        self._connection: Connection | None = None
        self._connected = asyncio.Event()
        self._numbers = count(1)
        self._sent: dict[str, str] = {}  # event_id -> name
        self._last_event = time.monotonic()
        self._asked = False
        self._reported: Playback | None = None

    @property
    def is_busy(self) -> bool:
        """Whether an answer is awaited, comes, or plays."""
        return self._asked or self.state.open_reply is not None or not self.playback.is_idle

    @property
    def is_answering(self) -> bool:
        """Whether the server has heard a question that is not yet answered."""
        is_at_it = self.state.state in {HEARING, THINKING, SPEAKING}
        return self._asked or self.state.open_reply is not None or is_at_it

    async def run(self) -> None:
        """Hold the call until it is cancelled, opening lost connections again.

        Raises:
            ServerConnectionError: If the server cannot be reached, or not again within a minute.
            ServerBusyError: If it takes no more calls.
            ConfigError: If it refuses the settings.
        """
        await race(self._stay_connected(), self._report_playback())

    async def _stay_connected(self) -> None:
        lost_at: float | None = None
        n_tries = 0
        while True:
            try:
                async with await Connection.open(self.address, self.conversation) as connection:
                    events = connection.events()
                    await self._greet(connection, await self._first(events), lost_at is not None)
                    lost_at, n_tries = None, 0
                    async for event in events:
                        await self._receive(event)
            except CallEndedError:
                raise
            except (ServerConnectionError, ServerBusyError) as error:
                now = time.monotonic()
                if self._connected.is_set():
                    self._lose(error)
                    lost_at = now
                if lost_at is None or now - lost_at > RECONNECT_S:
                    raise
            finally:
                self._connection = None
                self._connected.clear()
            await asyncio.sleep(RETRY_S[min(n_tries, len(RETRY_S) - 1)])
            n_tries += 1

    async def _first(self, events: AsyncIterator[ServerEvent]) -> ServerEvent:
        """Wait for the greeting; a server that wants no call says why in its place."""
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                event = await anext(events)
        except (TimeoutError, StopAsyncIteration) as error:
            raise ServerConnectionError(
                f"{self.address.url} took the call but says nothing; is it an antiphon server?"
            ) from error
        if event.type != "error":
            return event
        message = f"{self.address.url} takes no call now: {event.text('error', 'message')}"
        is_full = event.text("error", "code") == FULL
        raise ServerBusyError(message) if is_full else CallEndedError(message)

    async def _greet(self, connection: Connection, event: ServerEvent, is_again: bool) -> None:
        """Answer the server's first event with the settings."""
        self._connection = connection
        await self._receive(event)
        session = self.settings.to_session(self._input_rate)
        await self._send("session.update", {"session": session})
        self._connected.set()
        if is_again:
            self._observer.on_notice("connected again; the conversation goes on")

    def _lose(self, error: AntiphonError) -> None:
        """End what the lost connection can no longer finish."""
        self._observer.on_notice(f"{error}; trying again")
        reply = self.state.open_reply
        if reply is not None:
            self.playback.end(reply.item_id)
        if self._asked or reply is not None:
            self._asked = False
            self.state.finish(LOST, "the connection was lost while the answer came; ask again")
        self.state.state = CONNECTING

    async def _receive(self, event: ServerEvent) -> None:
        """Take one event: bookkeeping, then what has to be done about it."""
        self._last_event = time.monotonic()
        self._log.write("server", event.fields, None if event.sound is None else len(event.sound))
        self.state.apply(event)
        if event.type == AUDIO_DELTA and event.sound is not None:
            item_id = event.text("item_id")
            if not self.state.is_cut(item_id):
                self.playback.push(item_id, event.sound)
        elif event.type == "response.created":
            self._asked = False
        elif event.type in {"response.output_audio.done", "response.output_item.done"}:
            self.playback.end(event.text("item_id") or event.text("item", "id"))
        elif event.type == "response.done":
            self._end_all(event)
        elif event.type == "input_audio_buffer.speech_started":
            if not self.settings.is_half_duplex and self.settings.is_hands_free:
                await self._cut_short()
        elif event.type == "input_audio_buffer.cleared" and self._asked:
            self._asked = False
            self.state.finish(EMPTY, UNHEARD)
        elif event.type == "error":
            self._complain(event)

    def _end_all(self, event: ServerEvent) -> None:
        """Let everything of an ended response play out; one that was cut is silent already."""
        output = event.get("response", "output")
        for item in output if isinstance(output, list) else []:
            if isinstance(item, dict) and isinstance(item.get("id"), str):
                self.playback.end(item["id"])
        if self.state.last_reply is not None:
            self.playback.end(self.state.last_reply.item_id)

    def _complain(self, event: ServerEvent) -> None:
        message = event.text("error", "message") or "the server reports an error without words"
        event_id = event.text("error", "event_id")
        name = self._sent.get(event_id)
        reply = self.state.open_reply
        if name == "session.update":
            raise ConfigError(f"the server refuses the settings: {message}")
        if name in QUESTIONS and self._asked:
            self._asked = False
            self.state.finish(FAILED, message)
        elif name is not None:  # too late or twice: what it was about has changed meanwhile
            _log.info("%s: %s", name, message)
        elif reply is not None:
            reply.error = message
        else:
            self._observer.on_notice(message)

    async def _send(self, name: str, fields: Fields) -> None:
        """Send an event with an id of its own, by which errors are told apart."""
        if self._connection is None:
            raise ServerConnectionError(f"there is no connection to {self.address.url} now")
        event_id = f"event_{next(self._numbers)}"
        self._sent[event_id] = name
        if len(self._sent) > 100:
            del self._sent[next(iter(self._sent))]
        event = {"event_id": event_id, **fields}
        self._log.write("client", {"type": name, **event})
        await self._connection.send(name, event)

    async def wait_connected(self, timeout_s: float = RECONNECT_S) -> None:
        """Wait until the call stands; raises ServerConnectionError if it does not in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._connected.wait()
        except TimeoutError as error:
            raise ServerConnectionError(f"there is no connection to {self.address.url}") from error

    async def send_sound(self, sound: Waveform) -> bool:
        """Send (n_samples,) float32 of the microphone; False if it went nowhere."""
        if self._connection is None or not self._connected.is_set():
            return False
        try:
            await self._connection.send_sound(float_to_pcm16(sound).astype("<i2").tobytes())
        except ServerConnectionError:  # the receiving side notices it too, and connects again
            return False
        return True

    async def commit(self) -> None:
        """End a spoken question and ask for the answer; raises ServerConnectionError."""
        await self._send("input_audio_buffer.commit", {})
        await self._ask("")

    async def drop_sound(self) -> None:
        """Forget the sound sent since the last question; raises ServerConnectionError."""
        await self._send("input_audio_buffer.clear", {})

    async def say(self, text: str) -> None:
        """Ask a typed question; raises ServerConnectionError."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self._send("conversation.item.create", {"item": item})
        await self._ask(text)

    async def _ask(self, question: str) -> None:
        self._asked = True
        self._last_event = time.monotonic()
        self.state.ask(question)
        await self._send("response.create", {})

    async def wait_reply(self) -> Reply:
        """Wait until the next reply has ended, in whatever way; its status says how.

        Raises:
            ServerConnectionError: If the server is silent for two minutes.
        """
        while True:
            try:
                async with asyncio.timeout(POLL_S):
                    return await self._replies.get()
            except TimeoutError:
                if time.monotonic() - self._last_event > SILENCE_TIMEOUT_S:
                    raise ServerConnectionError(
                        f"{self.address.url} said nothing for {SILENCE_TIMEOUT_S:g} s"
                    ) from None

    def forget_replies(self) -> None:
        """Drop ended replies nobody waited for."""
        while not self._replies.empty():
            self._replies.get_nowait()

    async def wait_played(self) -> None:
        """Wait until everything that came was played."""
        while True:
            if self.playback.is_idle:
                return
            await asyncio.sleep(PLAY_POLL_S)

    async def stop_reply(self) -> None:
        """Silence the reply and have the server stop it."""
        if self.state.open_reply is not None or self._asked:
            await self._send("response.cancel", {})
        await self._cut_short()

    async def _cut_short(self) -> None:
        """Stop playing, and tell the server how much was heard of what was stopped."""
        was_playing = not self.playback.is_idle
        playback = self.playback.flush()
        heard = {playback.item_id: playback.played_ms} if was_playing and playback.item_id else {}
        reply = self.state.open_reply
        if reply is not None and reply.item_id and self.settings.with_sound:
            is_same = playback.item_id == reply.item_id
            heard.setdefault(reply.item_id, playback.played_ms if is_same else 0)
        for item_id, played_ms in heard.items():
            if self.state.is_cut(item_id):
                continue
            self.state.cut(item_id, played_ms)
            fields = {"item_id": item_id, "content_index": 0, "audio_end_ms": played_ms}
            await self._send("conversation.item.truncate", fields)

    async def _report_playback(self) -> None:
        """Tell the server what is heard, while something is, and once when it ends."""
        while True:
            await asyncio.sleep(REPORT_S)
            playback = self.playback.status()
            if not playback.item_id or playback == self._reported:
                continue
            if self._connected.is_set():
                self._reported = playback
                await self._report(playback)

    async def _report(self, playback: Playback) -> None:
        fields = {
            "item_id": playback.item_id,
            "played_ms": playback.played_ms,
            "buffered_ms": playback.buffered_ms,
            "underruns": playback.n_underruns,
            "is_playing": playback.is_playing,
        }
        try:
            await self._send("antiphon.playback", fields)
        except ServerConnectionError:  # the receiving side connects again
            self._reported = None
