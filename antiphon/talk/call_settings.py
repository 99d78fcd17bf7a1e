"""Where a call goes and what it asks the server for: frozen options and their wire form.

Names and fields are those of OpenAI's Realtime API; what is ours stands under `antiphon`.
Knows nothing of sockets or sound.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit, urlunsplit

from antiphon.errors import ConfigError

DEFAULT_HOST, DEFAULT_PORT = "localhost", 8888
REALTIME_PATH = "/v1/realtime"
OUTPUT_RATE = 24_000  # Hz; what the server sends
MIN_INPUT_RATE, MAX_INPUT_RATE = 8_000, 96_000  # Hz; what it takes
SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
CONVERSATION_ID = re.compile(r"[0-9a-f]{32}")
MAX_SILENCE_MS = 5_000
DEFAULT_SILENCE_MS = 400
DEFAULT_SENSITIVITY = 0.5

Fields = Mapping[str, object]


@dataclass(frozen=True)
class Address:
    """A server, as people write it: `http://host:port` or `ws://host:port`, path optional.

    Raises:
        ConfigError: If it is no such address.
    """

    url: str = f"http://{DEFAULT_HOST}:{DEFAULT_PORT}"
    insecure: bool = False

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError as error:
            raise self._unusable() from error
        if parts.scheme not in SCHEMES or not parts.hostname:
            raise self._unusable()

    def _unusable(self) -> ConfigError:
        example = f"http://{DEFAULT_HOST}:{DEFAULT_PORT}"
        return ConfigError(f"--url {self.url!r} is no address of a server; expected {example}")

    @property
    def host(self) -> str:
        """The name of the machine."""
        return urlsplit(self.url).hostname or ""

    @property
    def is_encrypted(self) -> bool:
        """Whether the call runs over TLS."""
        return SCHEMES[urlsplit(self.url).scheme] == "wss"

    def socket_url(self, conversation: str) -> str:
        """Write the address of the socket of a conversation."""
        parts = urlsplit(self.url)
        path = parts.path.rstrip("/")
        if not path.endswith(REALTIME_PATH):
            path += REALTIME_PATH
        query = urlencode({"conversation": conversation, "audio": "binary"})
        query = f"{parts.query}&{query}" if parts.query else query
        return urlunsplit((SCHEMES[parts.scheme], parts.netloc, path, query, ""))


def check_conversation(conversation: str) -> str:
    """Return the id of a conversation; raises ConfigError if it is none."""
    if not CONVERSATION_ID.fullmatch(conversation):
        raise ConfigError(
            f"--conversation {conversation!r} is no id of one; expected 32 of 0-9 and a-f"
        )
    return conversation


@dataclass(frozen=True)
class CallSettings:
    """How a call is held.

    Attributes:
        is_hands_free: The server tells when the person begins and ends; else the client commits.
        is_half_duplex: Nobody listens while a reply plays.
        with_sound: Replies are wanted as speech too, not as text alone.
        sensitivity: From 0 (hears only loud, clear speech) to 1 (hears everything).
        silence_ms: Silence that ends a turn.
        temperature, top_p, max_tokens, seed, voice: As in sampling; None leaves the server's own.

    Raises:
        ConfigError: If a value is out of range.
    """

    is_hands_free: bool = True
    is_half_duplex: bool = False
    with_sound: bool = True
    sensitivity: float = DEFAULT_SENSITIVITY
    silence_ms: int = DEFAULT_SILENCE_MS
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    voice: str | None = None

    def __post_init__(self) -> None:
        self._check("--sensitivity", self.sensitivity, 0, 1)
        self._check("--silence-ms", self.silence_ms, 100, MAX_SILENCE_MS)
        self._check("--temperature", self.temperature, 0, 2)
        self._check("--top-p", self.top_p, 0.01, 1)
        self._check("--max-tokens", self.max_tokens, 1, 100_000)
        self._check("--seed", self.seed, 0, 2**63 - 1)

    def _check(self, flag: str, value: float | None, low: float, high: float) -> None:
        if value is not None and not low <= value <= high:
            raise ConfigError(f"{flag} {value}: expected a number from {low:g} to {high:g}")

    def to_session(self, input_rate: int) -> Fields:
        """Write the `session` of a `session.update`; sound comes in at `input_rate` Hz."""
        sound_in = {
            "format": {"type": "audio/pcm", "rate": input_rate},
            "turn_detection": self._turn_detection(),
        }
        return _given(
            type="realtime",
            output_modalities=["audio" if self.with_sound else "text"],
            audio=_given(input=sound_in, output=_given(voice=self.voice) or None),
            max_output_tokens=self.max_tokens,
            temperature=self.temperature,
            antiphon=_given(top_p=self.top_p, seed=self.seed, half_duplex=self.is_half_duplex),
        )

    def _turn_detection(self) -> Fields | None:
        if not self.is_hands_free:
            return None
        return {
            "type": "server_vad",
            "threshold": round(1 - self.sensitivity, 3),
            "silence_duration_ms": self.silence_ms,
            "create_response": True,
            "interrupt_response": not self.is_half_duplex,
        }


def _given(**fields: object) -> dict[str, object]:
    """Keep the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}
