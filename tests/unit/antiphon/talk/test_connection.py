"""Servers that refuse, close, stay silent or talk nonsense, and what a call says about them."""

import asyncio
import base64
import http.server
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve

from antiphon.errors import ServerBusyError, ServerConnectionError
from antiphon.talk import call as call_module
from antiphon.talk.call import Call
from antiphon.talk.call_settings import Address, CallSettings
from antiphon.talk.call_state import FAILED, CallObserver
from antiphon.talk.connection import CallEndedError, parse_event
from antiphon.talk.playback_buffer import PlaybackBuffer
from tests.fake_call_server import run_to_the_end as run
from tests.fake_call_server import until

BY_KEY = CallSettings(is_hands_free=False)


class Notes(CallObserver):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def on_notice(self, message: str) -> None:
        self.notices.append(message)


def test_base64_sound() -> None:
    samples = np.array([0, 16_384, -32_768], "<i2")
    delta = base64.b64encode(samples.tobytes()).decode()
    message = json.dumps({"type": "response.output_audio.delta", "delta": delta})
    sound = parse_event(message).sound
    assert sound is not None and sound.tolist() == [0, 0.5, -1]


@asynccontextmanager
async def odd_server(
    handle: Callable[[ServerConnection], Awaitable[None]],
) -> AsyncIterator[Address]:
    async with serve(handle, "127.0.0.1", 0) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        yield Address(f"ws://127.0.0.1:{port}")


def test_silent_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_module, "HELLO_TIMEOUT_S", 0.1)

    async def silent(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async def work() -> None:
        async with odd_server(silent) as address:
            with pytest.raises(ServerConnectionError, match="says nothing"):
                await Call(address, BY_KEY, PlaybackBuffer()).run()

    run(work)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (1013, ServerBusyError, "no more calls"),
        (1008, ServerConnectionError, "ended the call: not so"),
    ],
)
def test_closing_server(code: int, kind: type[Exception], words: str) -> None:
    async def close(socket: ServerConnection) -> None:
        await socket.close(code, "not so")

    async def work() -> None:
        async with odd_server(close) as address:
            with pytest.raises(kind, match=words):
                await Call(address, BY_KEY, PlaybackBuffer()).run()

    run(work)


@pytest.mark.parametrize(
    ("code", "kind"), [("server_full", ServerBusyError), ("refused", CallEndedError)]
)
def test_server_that_says_why_it_takes_no_call(code: str, kind: type[Exception]) -> None:
    async def refuse(socket: ServerConnection) -> None:
        await socket.send(json.dumps({"type": "error", "error": {"code": code, "message": "why"}}))
        await socket.close(1013 if code == "server_full" else 1008)

    async def work() -> None:
        async with odd_server(refuse) as address:
            with pytest.raises(kind, match="takes no call now: why"):
                await Call(address, BY_KEY, PlaybackBuffer()).run()

    run(work)


def test_events_of_other_versions_do_no_harm() -> None:
    async def odd(socket: ServerConnection) -> None:
        for message in ('{"type": "session.created"}', "no json", "[1]", '{"type": 7}', b"abc"):
            await socket.send(message)
        await socket.send('{"type": "response.done", "response": 3}')
        await socket.send('{"type": "response.output_audio.delta", "delta": "?"}')
        await socket.send('{"type": "antiphon.state", "state": "dancing"}')
        await socket.send('{"type": "antiphon.warning", "message": "the end"}')
        await socket.wait_closed()

    async def work() -> None:
        notes = Notes()
        async with odd_server(odd) as address:
            call = Call(address, BY_KEY, PlaybackBuffer(), observer=notes)
            task = asyncio.ensure_future(call.run())
            await until(lambda: notes.notices or task.done())
            assert notes.notices == ["the end"]
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    run(work)


def test_error_about_a_question_fails_that_question() -> None:
    async def refuse(socket: ServerConnection) -> None:
        await socket.send('{"type": "session.created"}')
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "response.create":
                error = {"message": "too long", "event_id": event["event_id"]}
                await socket.send(json.dumps({"type": "error", "error": error}))

    async def work() -> None:
        async with odd_server(refuse) as address:
            call = Call(address, BY_KEY, PlaybackBuffer())
            task = asyncio.ensure_future(call.run())
            await call.wait_connected()
            await call.say("x")
            reply = await call.wait_reply()
            assert (reply.status, reply.error) == (FAILED, "too long")
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    run(work)


@contextmanager
def web_server(status: int) -> Iterator[Address]:
    """A web server without sockets."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Address(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (404, ServerConnectionError, "older antiphon"),
        (403, ServerConnectionError, "older antiphon"),
        (200, ServerConnectionError, "no live call"),
        (503, ServerBusyError, "full or starting"),
        (500, ServerConnectionError, "status 500"),
    ],
)
def test_server_without_a_live_call(status: int, kind: type[Exception], words: str) -> None:
    async def work() -> None:
        with pytest.raises(kind, match=words):
            await Call(address, BY_KEY, PlaybackBuffer()).run()

    with web_server(status) as address:
        run(work)


def test_server_that_is_not_there() -> None:
    async def work() -> None:
        address = Address("http://127.0.0.1:9")
        with pytest.raises(ServerConnectionError, match=r"nothing listens there.*antiphon demo"):
            await Call(address, BY_KEY, PlaybackBuffer()).run()

    run(work)
