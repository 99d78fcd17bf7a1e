"""A realtime server for tests of the browser side: speaks the events, answers with a tone.

No model and no voice detector worth the name: loudness decides who speaks. `python -m
tests.fake_realtime` serves it for trying the page by hand.
"""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import gradio as gr
import numpy as np
from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect

from antiphon.demo.voice_panel import build_voice_panel, panel_static_files
from tests.running_app import PATIENCE_S, RunningApp, free_port

RATE = 24_000
TONE_HZ = 440.0
LOUD = 0.02  # a frame above this is speech
SILENCE_FRAMES = 20  # of 20 ms: the end of a turn
START_FRAMES = 4


@dataclass(frozen=True)
class Reply:
    """How the server answers.

    Attributes:
        seconds: Length of the tone.
        chunk_ms: Sound in one frame.
        pace: Seconds of sound sent per second; 0: all at once.
        pause_at_s, pause_s: A hole in the sending that makes the buffer run dry.
        text: What the reply says; its words are spread over the tone.
        is_silent: Send text only.
        fails: End as failed, with this message.
    """

    seconds: float = 1.6
    chunk_ms: int = 80
    pace: float = 4.0
    pause_at_s: float = 0.0
    pause_s: float = 0.0
    text: str = "The answer is seven, and that is all there is to say."
    amplitude: float = 0.3
    is_silent: bool = False
    fails: str = ""

    def tone(self) -> np.ndarray:
        """(n_samples,) int16 at 24 kHz."""
        time_s = np.arange(round(self.seconds * RATE)) / RATE
        return np.round(np.sin(2 * np.pi * TONE_HZ * time_s) * self.amplitude * 32767).astype("<i2")

    def words(self) -> list[dict[str, object]]:
        """Give the words with the time each begins at."""
        parts = self.text.split(" ")
        step = self.seconds * 1000 / len(parts)
        texts = [part if n == 0 else " " + part for n, part in enumerate(parts)]
        return [{"text": text, "start_ms": round(n * step)} for n, text in enumerate(texts)]


@dataclass
class Plan:
    """What the server does with calls; tests change it as they go."""

    reply: Reply = field(default_factory=Reply)
    hears: bool = False  # answer when the microphone falls silent
    refuse: int = 0  # close code for every new call
    queue: tuple[int | None, ...] = ()  # places told before the call opens: see `move_queue`
    think_s: float = 0.15
    is_deaf: bool = False  # answer no event, as a server that hangs
    history: list[dict[str, object]] = field(default_factory=list)


class FakeCall:
    """One open socket."""

    def __init__(self, websocket: WebSocket, server: "FakeRealtime") -> None:
        self.websocket = websocket
        self.server = server
        self.replying: asyncio.Task[None] | None = None
        self.item_id = ""
        self.response_id = ""
        self.voiced = 0
        self.quiet = 0
        self.is_hearing = False

    async def send(self, kind: str, **fields: object) -> None:
        self.server.n_sent += 1
        event = {"type": kind, "event_id": f"event_s{self.server.n_sent}", **fields}
        with suppress(RuntimeError, WebSocketDisconnect):
            await self.websocket.send_text(json.dumps(event))

    async def open(self) -> None:
        plan = self.server.plan
        await self.send("session.created", session={"type": "realtime", "id": "sess_1"})
        identity = self.websocket.query_params["conversation"]
        await self.send("antiphon.history", conversation_id=identity, items=plan.history)
        for place in plan.queue:
            await self.send("antiphon.queue", position=place, retry_after_s=0.4)
            await self.server.queue_moves.acquire()
        await self.send("antiphon.state", state="listening")

    async def listen(self) -> None:
        """Take events and sound until the other side goes."""
        while True:
            message = await self.websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes") is not None:
                await self.on_sound(message["bytes"])
            else:
                event = json.loads(message["text"])
                self.server.received.append(event)
                if not self.server.plan.is_deaf:
                    await self.on_event(event)

    async def on_event(self, event: dict) -> None:
        match event["type"]:
            case "antiphon.ping":
                await self.send("antiphon.pong", t=event["t"], server_t=time.time())
            case "session.update":
                await self.send("session.updated", session=event["session"])
            case "conversation.item.create":
                item = {**event["item"], "object": "realtime.item", "status": "completed"}
                await self.send("conversation.item.added", item=item)
            case "input_audio_buffer.commit":
                await self.commit()
            case "input_audio_buffer.clear":
                await self.send("input_audio_buffer.cleared")
            case "response.create" if self.replying is not None and not self.replying.done():
                code = "conversation_already_has_active_response"
                await self.send("error", error={"code": code, "message": "one at a time"})
            case "response.create":
                self.reply()
            case "response.cancel":
                await self.cancel()
            case "conversation.item.truncate":
                fields = {key: event[key] for key in ("item_id", "content_index", "audio_end_ms")}
                await self.send("conversation.item.truncated", **fields)

    async def on_sound(self, frame: bytes) -> None:
        samples = np.frombuffer(frame, "<i2") / 32768
        self.server.heard_samples += len(samples)
        loudness = float(np.sqrt((samples**2).mean()))
        self.server.loudest = max(self.server.loudest, loudness)
        if not self.server.plan.hears:
            return
        self.voiced, self.quiet = (self.voiced + 1, 0) if loudness > LOUD else (0, self.quiet + 1)
        if self.voiced == START_FRAMES and not self.is_hearing:
            await self.start_hearing()
        if self.is_hearing and self.quiet == SILENCE_FRAMES:
            await self.end_hearing()

    async def start_hearing(self) -> None:
        """Note that the person speaks; a reply under way is interrupted."""
        self.is_hearing = True
        self.item_id = f"item_user{self.server.next_number()}"
        self.server.started_at_ms.append(time.time() * 1000)
        await self.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id=self.item_id)
        await self.send("antiphon.state", state="hearing")
        await self.cancel("turn_detected")

    async def end_hearing(self) -> None:
        self.is_hearing = False
        await self.send("input_audio_buffer.speech_stopped", audio_end_ms=1, item_id=self.item_id)
        await self.commit()
        self.reply()

    async def commit(self) -> None:
        identity = self.item_id or f"item_user{self.server.next_number()}"
        self.item_id = ""
        await self.send("input_audio_buffer.committed", item_id=identity)
        content = [{"type": "input_audio", "transcript": None}]
        item = {"id": identity, "role": "user", "status": "completed", "content": content}
        await self.send("conversation.item.added", item={**item, "type": "message"})

    def reply(self) -> None:
        """Begin to answer."""
        self.replying = asyncio.create_task(self.answer(self.server.plan.reply))

    async def cancel(self, reason: str = "client_cancelled") -> None:
        """End the reply under way as cancelled."""
        if self.replying is None or self.replying.done():
            return
        self.replying.cancel()
        with suppress(asyncio.CancelledError):
            await self.replying
        await self.finish("cancelled", {"type": "cancelled", "reason": reason}, None)

    async def answer(self, plan: Reply) -> None:
        number = self.server.next_number()
        self.response_id, item = f"resp_{number}", f"item_reply{number}"
        await self.send("antiphon.state", state="thinking")
        await self.send("response.created", response={"id": self.response_id, "output": []})
        await asyncio.sleep(self.server.plan.think_s)
        if plan.fails:
            details = {"type": "failed", "error": {"message": plan.fails}}
            await self.finish("failed", details, None)
            return
        ids = {"response_id": self.response_id, "item_id": item}
        shown = {"id": item, "role": "assistant", "status": "in_progress", "content": []}
        await self.send("response.output_item.added", response_id=self.response_id, item=shown)
        await self.say(plan, ids)
        if not plan.is_silent:
            await self.speak(plan, ids)
            await self.send("response.output_audio.done", **ids, output_index=0, content_index=0)
        await self.finish("completed", None, item)

    async def say(self, plan: Reply, ids: dict[str, str]) -> None:
        place = {**ids, "output_index": 0, "content_index": 0}
        if plan.is_silent:
            await self.send("response.output_text.delta", **place, delta=plan.text)
            return
        words = {"words": plan.words()}
        kind = "response.output_audio_transcript.delta"
        await self.send(kind, **place, delta=plan.text, antiphon=words)

    async def speak(self, plan: Reply, ids: dict[str, str]) -> None:
        """Send the tone, chunk by chunk at the pace of the plan."""
        await self.send("antiphon.state", state="speaking")
        tone, size = plan.tone(), RATE * plan.chunk_ms // 1000
        begin = time.monotonic()
        for start in range(0, len(tone), size):
            start_s = start / RATE
            late = plan.pause_s if plan.pause_s and start_s >= plan.pause_at_s else 0.0
            due = begin + (start_s / plan.pace if plan.pace else 0.0) + late
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self.send_sound(tone[start : start + size], start, ids)

    async def send_sound(self, samples: np.ndarray, start: int, ids: dict[str, str]) -> None:
        marks: dict[str, object] = {"n_samples": len(samples), "start_ms": start * 1000 // RATE}
        if start == 0:
            marks["timings"] = TIMINGS
            self.server.spoke_at_ms.append(time.time() * 1000)
        place = {**ids, "output_index": 0, "content_index": 0, "delta": "", "antiphon": marks}
        await self.send("response.output_audio.delta", **place)
        with suppress(RuntimeError, WebSocketDisconnect):
            await self.websocket.send_bytes(samples.tobytes())

    async def finish(self, status: str, details: object, item: str | None) -> None:
        output = [{"id": item, "role": "assistant", "type": "message"}] if item else []
        figures = {"timings": TIMINGS, "rtf": 0.42, "n_text_tokens": 13, "n_audio_tokens": 26}
        response = {"id": self.response_id, "status": status, "status_details": details}
        response |= {"output": output, "antiphon": figures}
        await self.send("response.done", response=response)
        await self.send("antiphon.state", state="hearing" if self.is_hearing else "listening")


TIMINGS = {
    "endpoint_ms": 420,
    "tokenise_ms": 460,
    "first_text_ms": 640,
    "first_audio_ms": 980,
    "total_ms": 2100,
}


class FakeRealtime:
    """The server: its plan, what it received and the handles that tests pull."""

    def __init__(self) -> None:
        self.port = free_port()
        self.app = FastAPI()
        self.app.websocket("/v1/realtime")(self.serve)
        self.reset()
        self._number = 0
        self._running: RunningApp | None = None

    def reset(self) -> None:
        """Forget what came and go back to the plain plan."""
        self.plan = Plan()
        self.received: list[dict] = []
        self.calls: list[FakeCall] = []  # open now
        self.queries: list[dict[str, str]] = []
        self.heard_samples = 0
        self.loudest = 0.0
        self.n_sent = 0
        self.queue_moves = asyncio.Semaphore(0)
        self.spoke_at_ms: list[float] = []
        self.started_at_ms: list[float] = []

    def next_number(self) -> int:
        self._number += 1
        return self._number

    async def serve(self, websocket: WebSocket) -> None:
        await websocket.accept()
        if self.plan.refuse:
            code = "server_full" if self.plan.refuse == 1013 else "refused"
            problem = {"code": code, "message": "not today"}
            await websocket.send_json({"type": "error", "event_id": "event_s0", "error": problem})
            await websocket.close(self.plan.refuse, "not today")
            return
        self.queries.append(dict(websocket.query_params))
        call = FakeCall(websocket, self)
        self.calls.append(call)
        try:
            await call.open()
            await call.listen()
        except (RuntimeError, WebSocketDisconnect):
            pass
        finally:
            if call in self.calls:
                self.calls.remove(call)
            if call.replying:
                call.replying.cancel()

    def move_queue(self) -> None:
        """Let whoever waits in the queue step forward."""

        async def move() -> None:
            self.queue_moves.release()

        self.do(move())

    def plan_reply(self, **changes: object) -> None:
        """Change how the next reply is given."""
        self.plan.reply = replace(self.plan.reply, **changes)

    def start(self) -> None:
        self._running = RunningApp(self.app, self.port)

    def kill(self) -> None:
        """Go away with every call, as a server that is stopped."""
        assert self._running is not None
        self._running.stop()
        self._running = None

    def do(self, work: Coroutine[object, object, None]) -> None:
        """Run something on the server's own loop."""
        assert self._running is not None
        asyncio.run_coroutine_threadsafe(work, self._running.loop).result(PATIENCE_S)

    def of_type(self, kind: str) -> list[dict]:
        return [event for event in list(self.received) if event["type"] == kind]


async def page_app(fake: FakeRealtime) -> FastAPI:
    """Make the page: a Gradio app with the panel in it, as the real one has."""
    app = FastAPI()
    app.mount("/panel", panel_static_files())

    @app.get("/conversation/{identity}.json")
    def conversation(identity: str) -> dict[str, object]:
        return {"conversation_id": identity, "items": fake.plan.history}

    @app.get("/conversation/{identity}/item/{item}.wav")
    def clip(identity: str, item: str) -> Response:
        return Response(b"", media_type="audio/wav")

    with gr.Blocks(title="panel") as blocks:
        gr.Markdown("# Antiphon")
        gr.Textbox(label="Elsewhere", elem_id="elsewhere")
        build_voice_panel(socket_url=f"ws://localhost:{fake.port}/v1/realtime")
    gr.mount_gradio_app(app, blocks, path="/")
    return app


@contextmanager
def running_fake() -> Iterator[tuple[FakeRealtime, str]]:
    """Serve the page and the fake server; gives the server and the address of the page."""
    fake = FakeRealtime()
    fake.start()
    port = free_port()
    with ThreadPoolExecutor(1) as worker:  # Gradio leaves event loops open where none runs
        app = worker.submit(asyncio.run, page_app(fake)).result()
    page = RunningApp(app, port)
    try:
        yield fake, f"http://localhost:{port}/"
    finally:
        page.stop()
        if fake._running is not None:
            fake.kill()


if __name__ == "__main__":
    with running_fake() as (server, address):
        server.plan.hears = True
        server.plan_reply(seconds=4.0)
        logging.warning("the page is at %s; Ctrl-C ends it", address)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
