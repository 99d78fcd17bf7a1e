"""What a turn pipeline says while it answers: frozen dataclasses, in the order they happen."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from antiphon.errors import AntiphonError

StopReason = Literal["stop", "length", "cancelled", "collapsed"]
"""Why a reply ended: by itself, at a limit, by the user, or because it only repeated itself."""


@dataclass(frozen=True)
class TurnTimings:
    """Seconds from the moment the clip (or text) is in; None where it did not happen.

    `tokenise_s` and `prefill_s` are durations; `first_text_s`, `first_audio_s` and `total_s` are
    points in time.
    """

    tokenise_s: float
    prefill_s: float | None
    first_text_s: float | None
    first_audio_s: float | None
    total_s: float


@dataclass(frozen=True)
class UserTokens:
    """The user's speech as tokens; sent once, before the reply (for token views)."""

    speech_tokens: tuple[int, ...]


@dataclass(frozen=True)
class TextDelta:
    """A new stretch of the reply's text."""

    text: str
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class AudioChunk:
    """A new stretch of the reply's sound, (n_samples,) float32 in [-1, 1]."""

    waveform: npt.NDArray[np.float32]
    sample_rate: int
    speech_tokens: tuple[int, ...] = ()


@dataclass(frozen=True)
class TurnDone:
    """The reply is complete; everything was delivered before this event.

    `n_dropped_turns` counts the oldest turns that were left out because the context was full.
    """

    text: str
    audio_s: float
    n_text_tokens: int
    n_audio_tokens: int
    stop_reason: StopReason
    timings: TurnTimings
    rtf: float | None = None
    reply_ids: tuple[int, ...] = field(default=(), repr=False)
    n_dropped_turns: int = 0


@dataclass(frozen=True)
class TurnFailed:
    """The turn ended in an error; what was heard before stays valid. The last event of the turn.

    `error` is the exception behind the message, for those who try again when a server is full.
    """

    message: str
    timings: TurnTimings | None = None
    error: AntiphonError | None = field(default=None, compare=False, repr=False)


Event = UserTokens | TextDelta | AudioChunk | TurnDone | TurnFailed
