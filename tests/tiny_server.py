"""A model server on loopback with the tiny model, and servers that misbehave on purpose."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import uvicorn
from fastapi import FastAPI

from antiphon.config import ServerConfig
from antiphon.engine.local_engine import LocalEngine
from antiphon.server.app import ModelServer, create_app
from antiphon.server.listener import bind_port
from tests.dialogue_fakes import LAYOUT, ByteTokenizer
from tests.tiny_glm import CONTEXT_LENGTH, VOCAB_SIZE, make_engine, wait_until

TINY_LAYOUT = replace(
    LAYOUT, audio_0=270, n_audio=30, vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH
)
Connection = socket.socket


@contextmanager
def serve_app(app: FastAPI) -> Iterator[str]:
    """Run an application in a thread; gives its address."""
    listener = bind_port("localhost", 0)
    settings = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1)
    server = ModelServer(settings, app.state.services.engine)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://localhost:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive(), "the server did not stop"


@contextmanager
def serve_tiny_model(
    max_concurrent: int = 4, max_queue: int = 8
) -> Iterator[tuple[str, LocalEngine]]:
    """Serve the tiny model; gives the address and the engine behind it."""
    engine = make_engine(max_concurrent, max_queue)
    with serve_app(create_app(ServerConfig(), engine, ByteTokenizer(TINY_LAYOUT))) as url:
        yield url, engine


@contextmanager
def serve_bytes(answer: Callable[[Connection], None]) -> Iterator[str]:
    """Run a server that reads each request and lets `answer` go on; gives its address."""
    listener = bind_port("localhost", 0)
    listener.listen()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed: the test is over
                return
            with connection:
                read_request(connection)
                answer(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
        assert not thread.is_alive(), "the fake server did not stop"


def read_request(connection: Connection) -> None:
    """Read one HTTP request with its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65_536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    while len(body) < length:
        body += connection.recv(65_536)


def send_lines(connection: Connection, *lines: bytes, is_complete: bool = False) -> None:
    """Begin a chunked reply with these lines; end it only if `is_complete`."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for line in lines:
        connection.sendall(b"%x\r\n%s\r\n" % (len(line), line))
    if is_complete:
        connection.sendall(b"0\r\n\r\n")
