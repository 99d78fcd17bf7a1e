"""The websocket route of calls: accepts, reads, writes, and frees all when either side is gone.

`GET /v1/realtime?model=&conversation=&audio=binary|base64`. Knows frames; what they mean is in
`Call`.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field

from fastapi import APIRouter, WebSocket, WebSocketDisconnect, status

from antiphon.api.realtime_events import MAX_EVENT_BYTES
from antiphon.api.realtime_messages import ErrorInfo, error
from antiphon.errors import AntiphonError, ConfigError
from antiphon.realtime.call import Call
from antiphon.realtime.conversation_store import StoredConversation
from antiphon.realtime.outbox import Outbox
from antiphon.realtime.parts import RealtimeParts

logger = logging.getLogger(__name__)

IDLE_CHECK_S = 1.0
SUBPROTOCOL = "realtime"
"""Browsers that talk to OpenAI ask for it; any other is refused by not being taken."""

CLOSE_GRACE_S = 2.0
"""How long a client may take to read what was sent before the end."""


@dataclass
class OpenCalls:
    """The calls of one server."""

    calls: set[Call] = field(default_factory=set)


def create_realtime_router(parts: RealtimeParts) -> APIRouter:
    """Make the router with the websocket route `/v1/realtime`.

    Args:
        parts: What all calls share; the caller opens and closes what is in it.
    """
    router = APIRouter()
    open_calls = OpenCalls()

    @router.websocket("/v1/realtime")
    async def realtime(
        socket: WebSocket,
        model: str | None = None,
        conversation: str | None = None,
        audio: str = "base64",
    ) -> None:
        offered = socket.scope.get("subprotocols", [])
        await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
        try:
            if audio not in ("binary", "base64"):
                raise ConfigError(f"audio={audio[:20]!r}; expected binary or base64")
            stored = parts.store.open(conversation)
        except ConfigError as problem:
            await refuse(socket, problem, status.WS_1008_POLICY_VIOLATION)
            return
        except AntiphonError as problem:
            await refuse(socket, problem, status.WS_1013_TRY_AGAIN_LATER)
            return
        if len(open_calls.calls) >= parts.options.max_calls:
            words = f"{parts.options.max_calls} calls are open, which is the most; come back later"
            await refuse(socket, AntiphonError(words), status.WS_1013_TRY_AGAIN_LATER)
            return
        await hold_call(socket, parts, stored, open_calls, is_binary=audio == "binary", model=model)

    return router


async def refuse(socket: WebSocket, problem: AntiphonError, code: int) -> None:
    """Say why there is no call, and close."""
    is_full = code == status.WS_1013_TRY_AGAIN_LATER
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.send_json(
            error(
                ErrorInfo(
                    type="server_error" if is_full else "invalid_request_error",
                    code="server_full" if is_full else "refused",
                    message=str(problem),
                )
            )
        )
        await socket.close(code, close_reason(str(problem)))


async def hold_call(
    socket: WebSocket,
    parts: RealtimeParts,
    stored: StoredConversation,
    open_calls: OpenCalls,
    *,
    is_binary: bool,
    model: str | None,
) -> None:
    """Hold one call until either side is gone; nothing of it runs afterwards."""
    outbox = Outbox()
    with stored.hold():
        call = Call(parts, stored, outbox, is_binary=is_binary, model=model)
        open_calls.calls.add(call)
        tasks = [
            asyncio.create_task(read(socket, call)),
            asyncio.create_task(write(socket, outbox)),
            asyncio.create_task(watch(call, parts.options.idle_timeout_s)),
        ]
        call.open()
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            outbox.close()
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            try:
                await call.close()
            finally:
                open_calls.calls.discard(call)
        await say_goodbye(socket, results)


async def read(socket: WebSocket, call: Call) -> None:
    """Hand the client's frames to the call until the client is gone."""
    while True:
        frame = await socket.receive()
        if frame["type"] == "websocket.disconnect":
            return
        if (data := frame.get("bytes")) is not None:
            await call.take_sound(data)
        elif (text := frame.get("text")) is not None:
            if len(text) > MAX_EVENT_BYTES:
                raise ConfigError(f"an event of {len(text)} characters; at most {MAX_EVENT_BYTES}")
            await call.take_event(text)


async def write(socket: WebSocket, outbox: Outbox) -> None:
    """Send what waits, in order, until the client is gone or given up."""
    with suppress(WebSocketDisconnect, RuntimeError):  # gone: `read` hears of it as well
        while (frame := await outbox.take()) is not None:
            if isinstance(frame, str):
                await socket.send_text(frame)
            else:
                await socket.send_bytes(frame)


async def watch(call: Call, idle_timeout_s: float) -> None:
    """End a call in which nobody says anything any more.

    Raises:
        ConfigError: When that is so; the reason the client is told.
    """
    while True:
        await asyncio.sleep(min(IDLE_CHECK_S, idle_timeout_s))
        if call.idle_s >= idle_timeout_s:
            raise ConfigError(f"nobody said anything for {idle_timeout_s:.0f} s; call again")


async def say_goodbye(socket: WebSocket, results: list[BaseException | None]) -> None:
    """Close the socket with the reason, if it is still there."""
    problem = next((each for each in results if isinstance(each, Exception)), None)
    code, reason = status.WS_1000_NORMAL_CLOSURE, ""
    if isinstance(problem, AntiphonError):
        code, reason = status.WS_1008_POLICY_VIOLATION, str(problem)
    elif problem is not None:
        logger.error("a call failed", exc_info=problem)
        code, reason = status.WS_1011_INTERNAL_ERROR, "the server failed; its log says why"
    with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
        async with asyncio.timeout(CLOSE_GRACE_S):
            await socket.close(code, close_reason(reason))


def close_reason(words: str) -> str:
    """Cut a reason to the 123 bytes a close frame holds."""
    return words.encode()[:120].decode(errors="ignore")
