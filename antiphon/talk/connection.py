"""One websocket to the server: events out, events in, each with the sound that belongs to it.

Turns everything that goes wrong into our exceptions. Knows nothing of turns or of playing.
"""

import base64
import binascii
import json
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from antiphon.audio import Waveform, pcm16_to_float
from antiphon.errors import ServerBusyError, ServerConnectionError
from antiphon.talk.call_settings import Address, Fields

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
SEND_TIMEOUT_S = 10.0
PING_S = 10.0
MAX_MESSAGE = 4 * 2**20  # bytes; 87 s of sound
LOOPBACK_HOSTS = frozenset(("localhost", "127.0.0.1", "::1"))
AUDIO_DELTA = "response.output_audio.delta"
NOT_THERE = frozenset((400, 403, 404, 405, 426, 501))
TRY_LATER = 1013  # the close code of RFC 6455's registry for a server that is full
POLICY_VIOLATION = 1008

_log = logging.getLogger(__name__)


class CallEndedError(ServerConnectionError):
    """The server does not want this call, or ended it on purpose: not to be tried again."""


@dataclass(frozen=True)
class ServerEvent:
    """One event of the server.

    Attributes:
        type: Its name.
        fields: The whole JSON object.
        sound: What it brings to play, (n_samples,) float32 at OUTPUT_RATE; None in most.
    """

    type: str
    fields: Fields
    sound: Waveform | None = None

    def get(self, *path: str) -> object:
        """Look up a nested field; None where any step is missing."""
        value: object = self.fields
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def text(self, *path: str) -> str:
        """Look up a string; "" where it is missing or something else."""
        value = self.get(*path)
        return value if isinstance(value, str) else ""

    def number(self, *path: str) -> float | None:
        """Look up a number; None where it is missing or something else."""
        value = self.get(*path)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None


class Connection:
    """An open socket. Use `await Connection.open(...)`, and leave its context to close it."""

    def __init__(self, socket: "ClientConnection", url: str) -> None:
        """Take over a socket that is open."""
        self._socket = socket
        self._url = url

    @classmethod
    async def open(cls, address: Address, conversation: str) -> Self:
        """Connect to a server.

        Raises:
            ServerBusyError: If it takes no more calls.
            ServerConnectionError: If it cannot be reached, or has no live call.
        """
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

        url = address.url
        try:
            socket = await connect(
                address.socket_url(conversation),
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=PING_S,
                max_size=MAX_MESSAGE,
                compression=None,
                ssl=_tls(address),
                proxy=None if address.host in LOOPBACK_HOSTS else True,
                process_exception=lambda error: error,  # we decide about trying again
            )
        except InvalidStatus as error:
            raise _refused(url, error.response.status_code) from error
        except ssl.SSLCertVerificationError as error:
            raise ServerConnectionError(
                f"{url} has a certificate this machine does not trust ({error.verify_message}); "
                "use --insecure if it is your own"
            ) from error
        except TimeoutError as error:
            raise ServerConnectionError(
                f"{url} did not answer within {OPEN_TIMEOUT_S:g} s; is the address right?"
            ) from error
        except (InvalidHandshake, InvalidURI, EOFError) as error:
            raise ServerConnectionError(
                f"{url} does not speak as a web server does; is the address right?"
            ) from error
        except OSError as error:
            raise ServerConnectionError(
                f"cannot reach {url} ({_reason(error)}); start the server with `antiphon demo`"
            ) from error
        return cls(socket, url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._socket.close()

    async def send(self, name: str, fields: Fields) -> None:
        """Send an event.

        Raises:
            ServerConnectionError: If the connection is lost.
        """
        await self._send(json.dumps({"type": name, **fields}, ensure_ascii=False))

    async def send_sound(self, samples: bytes) -> None:
        """Send microphone sound as 16-bit little-endian samples; raises ServerConnectionError."""
        await self._send(samples)

    async def _send(self, message: str | bytes) -> None:
        import asyncio

        from websockets.exceptions import ConnectionClosed

        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._socket.send(message)
        except (ConnectionClosed, TimeoutError) as error:
            raise ServerConnectionError(f"the connection to {self._url} was lost") from error

    async def events(self) -> AsyncIterator[ServerEvent]:
        """Yield what the server says until the connection ends.

        Raises:
            ServerBusyError: If the server ends it because it is full.
            ServerConnectionError: However else it ends.
        """
        from websockets.exceptions import ConnectionClosed

        waiting: ServerEvent | None = None  # for the frame with its sound
        try:
            async for message in self._socket:
                if isinstance(message, bytes):
                    if waiting is None:
                        _log.warning("dropped %d bytes that no event announced", len(message))
                    else:
                        sound = pcm16_to_float(
                            np.frombuffer(message[: len(message) // 2 * 2], "<i2")
                        )
                        yield ServerEvent(waiting.type, waiting.fields, sound)
                        waiting = None
                    continue
                event = parse_event(message)
                if _announces_sound(event):
                    waiting = event
                else:
                    yield event
        except ConnectionClosed as error:
            raise self._ended() from error
        raise self._ended()

    def _ended(self) -> ServerConnectionError | ServerBusyError:
        code, reason = self._socket.close_code, self._socket.close_reason
        if code == TRY_LATER:
            return ServerBusyError(f"{self._url} takes no more calls now; try again later")
        said = f": {reason}" if reason else ""
        if code == POLICY_VIOLATION:
            return CallEndedError(f"{self._url} ended the call{said}")
        return ServerConnectionError(f"the connection to {self._url} was lost{said}")


def parse_event(message: str) -> ServerEvent:
    """Read an event; base64 sound is decoded. What is no event gets the type "".

    A server of another version may send what we do not know; that ends no call.
    """
    try:
        fields = json.loads(message)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        _log.warning("the server sent something that is no event: %.80s", message)
        return ServerEvent("", {})
    event = ServerEvent(str(fields.get("type", "")), fields)
    delta = event.text("delta")
    if event.type != AUDIO_DELTA or not delta:
        return event
    try:
        samples = base64.b64decode(delta, validate=True)
    except binascii.Error:
        _log.warning("the server sent sound that is no base64")
        return event
    return ServerEvent(event.type, fields, _to_sound(samples))


def _to_sound(samples: bytes) -> Waveform:
    """Read 16-bit little-endian samples; half a sample at the end is dropped."""
    return pcm16_to_float(np.frombuffer(samples[: len(samples) // 2 * 2], "<i2"))


def _announces_sound(event: ServerEvent) -> bool:
    """Tell whether a binary frame with the sound of this event follows."""
    is_empty = event.type == AUDIO_DELTA and event.sound is None
    return is_empty and (event.number("antiphon", "n_samples") or 0) > 0


def _tls(address: Address) -> ssl.SSLContext | None:
    if not address.is_encrypted:
        return None
    context = ssl.create_default_context()
    if address.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _refused(url: str, status: int) -> ServerConnectionError | ServerBusyError:
    if status in {429, 503}:
        return ServerBusyError(f"{url} is full or starting (status {status}); try again later")
    if status in NOT_THERE or status < 400:
        return ServerConnectionError(
            f"{url} answers, but has no live call there (status {status}): it is another program, "
            "or an older antiphon; update it, and give the address of the page, not of the model "
            "server"
        )
    return ServerConnectionError(f"{url} refused the call with status {status}; see its log")


def _reason(error: OSError) -> str:
    """Say in a few words why a connection failed; asyncio joins several tries into one text."""
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return "nothing listens there"
    return error.strerror or str(error) or type(error).__name__
