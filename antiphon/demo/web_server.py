"""A web application on a port, in a thread of its own: starts, answers, and stops within seconds.

Knows nothing of what the application serves.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from antiphon.errors import ConfigError

START_TIMEOUT_S = 60.0
GRACE_S = 2  # for answers under way once the server is to stop; calls are hung up
STOP_TIMEOUT_S = 8.0
MAX_WEBSOCKET_FRAME = 2**20  # bytes; a second of 48 kHz sound in base64 is an eighth of that
POLL_S = 0.02


@dataclass(frozen=True)
class Address:
    """Where to listen, and with which certificate; without one it is plain http."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None

    @property
    def scheme(self) -> str:
        """What addresses of the page begin with."""
        return "https" if self.certificate is not None else "http"


class WebServer(uvicorn.Server):
    """A server that lets the application end its open streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop to listen, hang up, end."""
        self._on_stop()
        await super().shutdown(sockets)


@contextmanager
def running_server(app: FastAPI, address: Address, on_stop: Callable[[], None]) -> Iterator[str]:
    """Serve an application while inside; gives its address.

    Args:
        app: What to serve.
        address: Where.
        on_stop: Called on the server's event loop when it begins to stop; must not wait.

    Raises:
        ConfigError: If the address or the certificate cannot be used.
    """
    server = make_server(app, address, on_stop)
    listener = listen(address)
    thread = threading.Thread(target=server.run, args=([listener],), name="antiphon-page")
    thread.start()
    try:
        wait_until_started(server, thread)
        host = f"[{address.host}]" if ":" in address.host else address.host
        yield f"{address.scheme}://{host}:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(STOP_TIMEOUT_S)
        if thread.is_alive():
            server.force_exit = True
            thread.join(STOP_TIMEOUT_S)
        listener.close()


def make_server(app: FastAPI, address: Address, on_stop: Callable[[], None]) -> WebServer:
    """Set the server up; raises ConfigError for a certificate that cannot be read."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        log_level="warning",
        ssl_certfile=address.certificate,
        ssl_keyfile=address.key,
        timeout_graceful_shutdown=GRACE_S,
        ws_max_size=MAX_WEBSOCKET_FRAME,
        ws_per_message_deflate=False,
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"cannot use the certificate {address.certificate} with the key {address.key}: {error}"
        ) from error
    return WebServer(config, on_stop)


def listen(address: Address) -> socket.socket:
    """Take the port.

    Raises:
        ConfigError: If the port is taken or the host is not one of this machine's.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise refusal(address, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError as error:
        listener.close()
        raise refusal(address, error) from error
    return listener


def refusal(address: Address, error: OSError) -> ConfigError:
    """Say in words why a port cannot be listened on."""
    return ConfigError(
        f"cannot serve on {address.host}, port {address.port}: {error.strerror or error}; "
        "stop the program that uses it or choose another with --host and --port"
    )


def wait_until_started(server: WebServer, thread: threading.Thread) -> None:
    """Wait until the server answers; raises ConfigError if it ends before."""
    for _ in range(round(START_TIMEOUT_S / POLL_S)):
        if server.started:
            return
        thread.join(POLL_S)
        if not thread.is_alive():
            break
    raise ConfigError("the page's server did not start; its log says why")
