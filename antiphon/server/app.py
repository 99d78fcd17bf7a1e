"""The model server as a FastAPI application, and running it on a port.

Knows nothing of how models are loaded.
"""

import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from antiphon import __version__
from antiphon.config import ServerConfig
from antiphon.errors import ConfigError
from antiphon.server.prompt_string import PromptStringEncoder
from antiphon.server.routes import (
    PromptTokenizer,
    ServedEngine,
    Services,
    add_error_handlers,
    router,
)

logger = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT_S = 3
"""How long running replies may go on after Ctrl-C."""

EMBEDDED_NAME = "embedded"


def create_app(config: ServerConfig, engine: ServedEngine, tokenizer: PromptTokenizer) -> FastAPI:
    """Build the application; it closes the engine when it shuts down.

    Args:
        config: Settings; only the name of the model is shown.
        engine: Generates the replies.
        tokenizer: Encodes string prompts.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await engine.close()

    name = Path(config.model_path).name if config.model_path else EMBEDDED_NAME
    app = FastAPI(title="Antiphon model server", version=__version__, lifespan=lifespan)
    app.state.services = Services(
        engine=engine,
        prompts=PromptStringEncoder(tokenizer, tokenizer.layout),
        layout=tokenizer.layout,
        model_name=name,
    )
    app.include_router(router)
    add_error_handlers(app)
    return app


def bind_port(host: str, port: int) -> socket.socket:
    """Take a port before anything slow happens; connections are refused until the server listens.

    Raises:
        ConfigError: If the port is in use or the address is not one of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"--host {host!r} is not a known address: {error.strerror}") from error
    # IPv4 first: it is where clients look when they are given a name such as localhost.
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} on {host} is in use; stop the program that uses it or choose "
                "another with --port"
            ) from error
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def run_app(app: FastAPI, listener: socket.socket, log_level: str) -> None:
    """Serve until Ctrl-C or SIGTERM, then end the running replies and return."""
    settings = uvicorn.Config(
        app,
        log_config=None,
        log_level=log_level,
        access_log=log_level == "debug",
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
    )
    host, port = listener.getsockname()[:2]
    logger.info("model server on http://%s:%d", host, port)
    uvicorn.Server(settings).run(sockets=[listener])
