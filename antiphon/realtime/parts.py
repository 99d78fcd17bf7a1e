"""What all calls of a server share: what answers, what hears, what remembers, and the limits."""

import math
from dataclasses import dataclass, field

from antiphon.api.realtime_session import SessionSettings
from antiphon.dialogue.responder import Responder, Transcribe
from antiphon.dialogue.vad import SpeechDetector
from antiphon.errors import ConfigError
from antiphon.models.base import TokenLayout
from antiphon.realtime.conversation_store import ConversationStore
from antiphon.realtime.sound_pace import SoundPace


@dataclass(frozen=True)
class RealtimeOptions:
    """How calls are held.

    Attributes:
        model: The name that is shown.
        voices: Names that `audio.output.voice` may take; None, the decoder's own, always may.
        settings: A call's settings before its first `session.update`.
        max_calls: Calls at once; more are sent away with close code 1013.
        max_wait_s: How long a turn waits for a full model server.
        idle_timeout_s: A call in which nobody says anything for so long is ended.
    """

    model: str = "antiphon"
    voices: tuple[str, ...] = ()
    settings: SessionSettings = field(default_factory=SessionSettings)
    max_calls: int = 64
    max_wait_s: float = 120.0
    idle_timeout_s: float = 1800.0

    def __post_init__(self) -> None:
        """Raise ConfigError for limits that make no sense."""
        if self.max_calls < 1:
            raise ConfigError(f"max_calls must be at least 1, got {self.max_calls}")
        for name in ("max_wait_s", "idle_timeout_s"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"{name} must be above 0 seconds, got {getattr(self, name)}")


@dataclass(frozen=True)
class RealtimeParts:
    """What calls are made with.

    Attributes:
        responder: Answers turns; a `TurnPipeline`.
        store: The conversations.
        detector: Finds speech.
        layout: Of the language model's vocabulary; without it an interrupted reply stays whole in
            the history.
        transcribe: Writes down the person's own words from their speech tokens.
        options: The limits.
        pace: How long the first sounds of replies wait, learned from all of them.
    """

    responder: Responder
    store: ConversationStore
    detector: SpeechDetector
    layout: TokenLayout | None = None
    transcribe: Transcribe | None = None
    options: RealtimeOptions = field(default_factory=RealtimeOptions)
    pace: SoundPace = field(default_factory=SoundPace)
