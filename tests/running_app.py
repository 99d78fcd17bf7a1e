"""Serves an app from a thread of its own, for tests that need a real socket."""

import asyncio
import socket
import threading
import time

import uvicorn
from fastapi import FastAPI

PATIENCE_S = 10.0


class RunningApp:
    """An app served by a thread of its own until it is stopped."""

    def __init__(self, app: FastAPI, port: int) -> None:
        settings = {"log_level": "error", "ws_ping_interval": None, "lifespan": "off"}
        config = uvicorn.Config(app, "localhost", port, timeout_graceful_shutdown=1, **settings)
        self.server = uvicorn.Server(config)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        deadline = time.monotonic() + PATIENCE_S
        while not self.server.started:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)

    def _run(self) -> None:
        self.loop.run_until_complete(self.server.serve())
        self.loop.close()

    def stop(self) -> None:
        self.server.should_exit = True
        self.server.force_exit = True
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]
