"""The model server as a FastAPI application, and running it on a port.

Knows nothing of how models are loaded.
"""

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from antiphon import __version__
from antiphon.config import ServerConfig
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
"""How long clients may take to read the end of their replies after Ctrl-C."""

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


class ModelServer(uvicorn.Server):
    """A server that ends the running replies before it waits for their connections."""

    def __init__(self, settings: uvicorn.Config, engine: ServedEngine) -> None:
        """Serve with `settings`; `engine` is closed first when the server stops."""
        super().__init__(settings)
        self._engine = engine

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End all replies as cancelled, then the connections."""
        await self._engine.close()
        await super().shutdown(sockets)


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
    ModelServer(settings, app.state.services.engine).run(sockets=[listener])
