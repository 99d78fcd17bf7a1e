"""The page's server: https, a taken port, and an end within seconds while calls are open."""

import socket
import ssl
import threading
import time
import urllib.request
from contextlib import ExitStack

import pytest
from fastapi import FastAPI, WebSocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from antiphon.demo.certificate import self_signed
from antiphon.demo.web_server import Address, running_server
from antiphon.errors import ConfigError


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    @app.websocket("/call")
    async def call(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("ring")
        await socket.receive()  # until somebody hangs up

    return app


def test_https_with_a_certificate_of_its_own(tmp_path):
    made = self_signed("localhost", tmp_path)
    address = Address("localhost", 0, made.certificate, made.key)
    trusting = ssl.create_default_context(cafile=made.certificate)
    with running_server(make_app(), address, lambda: None) as url:
        assert url.startswith("https://localhost:")
        with urllib.request.urlopen(f"{url}hello", timeout=10, context=trusting) as answer:
            assert answer.read() == b'"hello"'
        with connect(f"wss{url.removeprefix('https')}call", ssl=trusting) as call:
            assert call.recv() == "ring"


def test_it_ends_within_seconds_while_a_call_is_open():
    stopped: list[str] = []
    n_threads = threading.active_count()
    with ExitStack() as stack:
        address = Address("localhost", 0)
        server = running_server(make_app(), address, lambda: stopped.append("said"))
        url = server.__enter__()
        call = stack.enter_context(connect(f"ws{url.removeprefix('http')}call"))
        assert call.recv() == "ring"
        began = time.monotonic()
        server.__exit__(None, None, None)
        assert time.monotonic() - began < 6
        with pytest.raises(ConnectionClosed):
            call.recv(timeout=5)
    assert stopped == ["said"]
    with socket.socket() as probe:
        assert probe.connect_ex(("localhost", int(url.rstrip("/").rpartition(":")[2]))) != 0
    assert threading.active_count() == n_threads


def test_a_taken_port_is_said_in_words():
    with socket.socket() as other:
        other.bind(("localhost", 0))
        other.listen()
        port = other.getsockname()[1]
        address = Address("localhost", port)
        refused = pytest.raises(ConfigError, match=f"port {port}.*--port")
        with refused, running_server(make_app(), address, lambda: None):
            pass


@pytest.mark.parametrize("text", ["no certificate", None], ids=["damaged", "missing"])
def test_a_file_that_is_no_certificate_is_said_in_words(tmp_path, text):
    wrong = tmp_path / "wrong.pem"
    if text is not None:
        wrong.write_text(text)
    address = Address("localhost", 0, wrong, wrong)
    refused = pytest.raises(ConfigError, match="cannot use the certificate")
    with refused, running_server(make_app(), address, lambda: None):
        pass
