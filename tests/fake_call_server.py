"""A small websocket server that speaks the live call's events: answers are a tone and fixed words.

What it does is set by a `Script`; what it was told is in `received` and `n_sound_bytes`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

RATE = 24_000


@dataclass
class Script:
    """How the server behaves.

    Attributes:
        words: The answer.
        block_s: Sound in each delta.
        n_blocks: Deltas in an answer.
        pause_s: Between deltas.
        refuse_settings: Answer session.update with an error.
        drop_commits: Hear nothing in what is committed.
        lose_after: Close the connection after so many deltas, once.
        queue: Say first that the model is busy.
        vad_s: In hands-free calls, seconds of sound after which a turn ends.
        interrupt_after: Say speech_started after so many deltas, once.
        end_call: Close the call on purpose after the next answer, once.
    """

    words: tuple[str, ...] = ("It", " is", " seven.")
    block_s: float = 0.2
    n_blocks: int = 3
    pause_s: float = 0.0
    refuse_settings: bool = False
    drop_commits: bool = False
    lose_after: int | None = None
    queue: bool = False
    vad_s: float | None = None
    interrupt_after: int | None = None
    end_call: bool = False


def tone(n_samples: int, start: int = 0) -> np.ndarray:
    """A sine that goes on smoothly from block to block, float32."""
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(start, start + n_samples) / RATE)).astype("f4")


@dataclass
class FakeCallServer:
    """State that outlives single connections."""

    script: Script
    url: str = ""
    received: list[Mapping[str, object]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    n_sound_bytes: int = 0
    n_responses: int = 0
    n_ended: int = 0
    items: list[Mapping[str, object]] = field(default_factory=list)

    def named(self, name: str) -> list[Mapping[str, object]]:
        """The events of one type, in order."""
        return [event for event in self.received if event["type"] == name]

    async def handle(self, socket: ServerConnection) -> None:
        self.paths.append(socket.request.path)
        await _Talk(self, socket).run()


class _Talk:
    """One connection."""

    def __init__(self, server: FakeCallServer, socket: ServerConnection) -> None:
        self.server, self.socket = server, socket
        self.reply: asyncio.Task[None] | None = None
        self.n_new_bytes = 0
        self.rate = RATE
        self.is_hands_free = False

    async def send(self, name: str, **fields: object) -> None:
        await self.socket.send(json.dumps({"type": name, "event_id": "event_s", **fields}))

    async def run(self) -> None:
        await self.send("session.created", session={"type": "realtime"})
        if self.server.items:
            await self.send("antiphon.history", conversation_id="0" * 32, items=self.server.items)
        await self.send("antiphon.state", state="listening")
        try:
            async for message in self.socket:
                if isinstance(message, bytes):
                    await self.on_sound(message)
                else:
                    event = json.loads(message)
                    self.server.received.append(event)
                    await self.on_event(event)
        except ConnectionClosed:
            pass
        finally:
            if self.reply is not None:
                self.reply.cancel()
                await asyncio.gather(self.reply, return_exceptions=True)

    async def on_sound(self, message: bytes) -> None:
        self.server.n_sound_bytes += len(message)
        self.n_new_bytes += len(message)
        vad_s = self.server.script.vad_s
        n_needed = 0 if vad_s is None else vad_s * self.rate * 2
        is_free = self.reply is None or self.reply.done()
        if self.is_hands_free and vad_s is not None and self.n_new_bytes >= n_needed and is_free:
            self.n_new_bytes = 0
            await self.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u1")
            await self.send("input_audio_buffer.speech_stopped", audio_end_ms=1, item_id="u1")
            await self.send("input_audio_buffer.committed", item_id="u1")
            self.begin()

    async def on_event(self, event: dict) -> None:
        name = event["type"]
        handlers: dict[str, Callable[[dict], Awaitable[None]]] = {
            "session.update": self.on_update,
            "input_audio_buffer.commit": self.on_commit,
            "response.create": self.on_create,
            "response.cancel": self.on_cancel,
            "conversation.item.create": self.on_item,
            "conversation.item.truncate": self.on_truncate,
        }
        if name in handlers:
            await handlers[name](event)

    async def on_update(self, event: dict) -> None:
        if self.server.script.refuse_settings:
            error = {"type": "invalid", "message": "no voice x", "event_id": event["event_id"]}
            await self.send("error", error=error)
            return
        sound_in = event["session"]["audio"]["input"]
        self.rate = sound_in["format"]["rate"]
        self.is_hands_free = sound_in["turn_detection"] is not None
        await self.send("session.updated", session=event["session"])

    async def on_commit(self, event: dict) -> None:
        if self.server.script.drop_commits:
            await self.send("input_audio_buffer.cleared")
            return
        await self.send("input_audio_buffer.committed", item_id="u1")
        item = {"id": f"u{len(self.server.received)}", "role": "user", "content": []}
        await self.send("conversation.item.added", item=item)

    async def on_create(self, event: dict) -> None:
        if not self.server.script.drop_commits:
            self.begin()

    async def on_item(self, event: dict) -> None:
        item = {"id": f"u{len(self.server.received)}", "status": "completed", **event["item"]}
        await self.send("conversation.item.added", item=item)

    async def on_truncate(self, event: dict) -> None:
        fields = {key: event[key] for key in ("item_id", "content_index", "audio_end_ms")}
        await self.send("conversation.item.truncated", **fields)

    async def on_cancel(self, event: dict) -> None:
        if self.reply is not None and not self.reply.done():
            self.reply.cancel()
            await asyncio.gather(self.reply, return_exceptions=True)
            await self.done("cancelled")

    def begin(self) -> None:
        self.server.n_responses += 1
        self.reply = asyncio.ensure_future(self.answer())

    async def done(self, status: str) -> None:
        item = {"id": f"item_{self.server.n_responses}", "role": "assistant", "status": status}
        timings = {"endpoint_ms": 400, "tokenise_ms": 20, "first_text_ms": 500}
        ours = {"timings": {**timings, "first_audio_ms": 700, "total_ms": 1500}, "rtf": 0.5}
        response = {"id": f"r{self.server.n_responses}", "status": status, "output": [item]}
        counts = {"n_text_tokens": 3, "n_audio_tokens": 7}
        await self.send("response.done", response={**response, "antiphon": {**ours, **counts}})
        await self.send("antiphon.state", state="listening")
        if self.server.script.end_call:
            self.server.script.end_call = False
            await asyncio.sleep(0.3)  # the answer was read
            self.server.n_ended += 1
            await self.socket.close(1008, "nobody said anything")

    async def answer(self) -> None:
        script, number = self.server.script, self.server.n_responses
        item_id = f"item_{number}"
        if script.queue:
            await self.send("antiphon.queue", position=2, retry_after_s=1.5)
        await self.send("antiphon.state", state="thinking")
        await self.send("response.created", response={"id": f"r{number}", "status": "in_progress"})
        await self.send("response.output_item.added", item={"id": item_id, "role": "assistant"})
        words: list[dict[str, object]] = []
        n_block = round(script.block_s * RATE)
        for index in range(max(script.n_blocks, len(script.words))):
            if index < len(script.words):
                name = "response.output_audio_transcript.delta"
                text = script.words[index]
                words.append({"text": text, "start_ms": index * script.block_s * 1000})
                ours = {"words": words[-1:]}
                await self.send(name, item_id=item_id, delta=text, antiphon=ours)
            if index < script.n_blocks:
                ours = {"n_samples": n_block, "start_ms": index * script.block_s * 1000}
                name = "response.output_audio.delta"
                await self.send(name, item_id=item_id, delta="", antiphon=ours)
                sound = tone(n_block, index * n_block)
                await self.socket.send((sound * 32768).astype("<i2").tobytes())
            if script.lose_after == index + 1:
                script.lose_after = None
                self.socket.transport.abort()
                return
            if script.interrupt_after == index + 1:
                script.interrupt_after = None
                await asyncio.sleep(script.pause_s)
                name = "input_audio_buffer.speech_started"
                await self.send(name, audio_start_ms=0, item_id="u2")
                await self.done("cancelled")
                return
            await asyncio.sleep(script.pause_s)
        await self.send("response.output_audio.done", item_id=item_id)
        await self.send("antiphon.words", item_id=item_id, words=words)
        await self.done("completed")


@asynccontextmanager
async def fake_call_server(script: Script, port: int = 0) -> AsyncIterator[FakeCallServer]:
    """Serve on a free port (or the one given) of this machine."""
    server = FakeCallServer(script)
    async with serve(server.handle, "127.0.0.1", port, compression=None) as running:
        bound = next(iter(running.sockets)).getsockname()[1]
        server.url = f"http://127.0.0.1:{bound}"
        yield server


def run_to_the_end(work: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine; whatever it started must have ended."""

    async def whole() -> None:
        async with asyncio.timeout(20):
            await work()
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others

    asyncio.run(whole())


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - a test looks on from outside
        await asyncio.sleep(0.01)
