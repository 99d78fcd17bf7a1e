"""Calls without a model or a microphone: a loud detector, a scripted pipeline, a driven client."""

import asyncio
import json
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI

from antiphon.audio import float_to_pcm16
from antiphon.dialogue.responder import Responder, Transcribe
from antiphon.dialogue.turn_pipeline import TurnPipeline
from antiphon.realtime.call import Call
from antiphon.realtime.conversation_store import ConversationStore, StoredConversation
from antiphon.realtime.outbox import Outbox
from antiphon.realtime.parts import RealtimeOptions, RealtimeParts
from antiphon.realtime.socket import create_realtime_router
from tests.dialogue_fakes import (
    LAYOUT,
    ByteTokenizer,
    FakeDecoder,
    FakeEngine,
    FakeSpeechTokenizer,
    audio_ids,
    tone,
)

REPLY = [*b"It is a fine ", *audio_ids(*range(26)), *b"day.", *audio_ids(*range(24)), 263]
REPLY_TEXT = "It is a fine day."
REPLY_MS = 50 * 80
RATE = 24_000


class LoudDetector:
    """What is loud is speech."""

    def open_stream(self) -> "LoudDetector":
        return self

    def push(self, frame: np.ndarray) -> float:
        return 0.95 if np.sqrt(np.mean(frame**2)) > 0.02 else 0.02


def pcm(seconds: float, rate: int = RATE) -> bytes:
    """A tone."""
    return float_to_pcm16(tone(seconds, rate)).tobytes()


def silence(seconds: float, rate: int = RATE) -> bytes:
    """Nothing."""
    return bytes(2 * round(seconds * rate))


def spoken(seconds: float = 1.0, rate: int = RATE) -> bytes:
    """A question between silences that begins and ends a turn."""
    return silence(0.5, rate) + pcm(seconds, rate) + silence(0.6, rate)


@dataclass
class Bench:
    """Parts of calls, with the fakes behind them."""

    root: Path
    engine: FakeEngine = field(default_factory=lambda: FakeEngine(REPLY))
    decoder: FakeDecoder = field(default_factory=FakeDecoder)
    tokenizer: FakeSpeechTokenizer = field(default_factory=FakeSpeechTokenizer)
    options: RealtimeOptions = field(default_factory=RealtimeOptions)
    responder: Responder | None = None
    transcribe: Transcribe | None = None

    @contextmanager
    def open(self) -> Iterator[RealtimeParts]:
        pipeline = TurnPipeline(self.engine, ByteTokenizer(), self.tokenizer, self.decoder)
        store = ConversationStore(self.root)
        try:
            yield RealtimeParts(
                responder=self.responder or pipeline,
                store=store,
                detector=LoudDetector(),
                layout=LAYOUT,
                transcribe=self.transcribe,
                options=self.options,
            )
        finally:
            store.close()
            pipeline.close()


class Driver:
    """A client inside the process: what it is sent, and what it sends."""

    def __init__(self, parts: RealtimeParts, stored: StoredConversation, is_binary: bool) -> None:
        self.outbox = Outbox()
        self.events: list[dict] = []
        self.sound = b""
        self.stored = stored
        self.call = Call(parts, stored, self.outbox, is_binary=is_binary)
        self._reader = asyncio.create_task(self._read())
        self._changed = asyncio.Event()
        self.call.open()

    async def _read(self) -> None:
        while (frame := await self.outbox.take()) is not None:
            if isinstance(frame, bytes):
                self.sound += frame
            else:
                self.events.append(json.loads(frame))
            self._changed.set()

    async def say(self, kind: str, **fields: object) -> None:
        await self.call.take_event(json.dumps({"type": kind, **fields}))

    async def speak(self, data: bytes, chunk: int = 960) -> None:
        for start in range(0, len(data), chunk):
            await self.call.take_sound(data[start : start + chunk])

    async def wait_for(self, kind: str, n: int = 1, timeout_s: float = 20) -> dict:
        """Wait for the n-th event of a kind."""
        async with asyncio.timeout(timeout_s):
            while len(found := self.all(kind)) < n:
                self._changed.clear()
                await self._changed.wait()
        return found[n - 1]

    async def wait_for_sound(self, ms: float) -> None:
        """Wait until so much sound has come in binary frames (24 kHz, 16 bits)."""
        await self.until(lambda: len(self.sound) >= ms * 48)

    async def until(self, is_so: Callable[[], bool], timeout_s: float = 20) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(timeout_s):
            while not is_so():  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)

    def all(self, kind: str) -> list[dict]:
        return [each for each in self.events if each["type"] == kind]

    def kinds(self, *without: str) -> list[str]:
        """Kinds of events in order, runs of the same kind once."""
        kinds: list[str] = []
        for each in self.events:
            if each["type"] not in without and (not kinds or kinds[-1] != each["type"]):
                kinds.append(each["type"])
        return kinds

    async def close(self) -> None:
        await self.call.close()
        self.outbox.close()
        await self._reader


@asynccontextmanager
async def call(
    parts: RealtimeParts, conversation: str | None = None, is_binary: bool = True
) -> AsyncIterator[Driver]:
    """Open a call and close it."""
    stored = parts.store.open(conversation)
    with stored.hold():
        driver = Driver(parts, stored, is_binary)
        try:
            yield driver
        finally:
            await driver.close()


@contextmanager
def served(parts: RealtimeParts) -> Iterator[str]:
    """Serve calls with uvicorn on a free port; yields the address of the route."""
    app = FastAPI()
    app.include_router(create_realtime_router(parts))
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}/v1/realtime"
    finally:
        server.should_exit = True
        thread.join(10)


def kinds_of(events: Sequence[dict]) -> list[str]:
    """Kinds of events in order."""
    return [each["type"] for each in events]


def temporary_root() -> Path:
    """A folder for a bench outside of pytest."""
    return Path(tempfile.mkdtemp())
