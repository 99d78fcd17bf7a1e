"""Turn taking over probabilities of speech: where a person's turn begins and where it ends.

Counts frames; knows no sound and no clock, so that how sound was cut changes nothing.
"""

import math
from dataclasses import dataclass
from enum import Enum

from antiphon.dialogue.vad import FRAME_MS
from antiphon.errors import ConfigError

HYSTERESIS = 0.15
"""A turn goes on down to the threshold less this; silero's own tools use the same distance."""

MAX_TURN_MS = 120_000
"""A turn is ended after this much sound, so that a fan or a radio does not talk for ever."""


@dataclass(frozen=True)
class EndpointerOptions:
    """How turns are told from silence.

    Attributes:
        threshold: Probability from which a frame counts as speech, in (0, 1); lower is more
            sensitive.
        prefix_padding_ms: Sound before the first voiced frame that belongs to the turn.
        silence_duration_ms: Silence that ends a turn.
        start_voiced_ms: Speech that begins a turn.
        min_voiced_ms: Turns with less speech are noise.
    """

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 400
    start_voiced_ms: int = 64
    min_voiced_ms: int = 120

    def __post_init__(self) -> None:
        """Raise ConfigError for values that make no sense."""
        if not 0 < self.threshold < 1:
            raise ConfigError(f"threshold must lie between 0 and 1, got {self.threshold}")
        bounds = {
            "prefix_padding_ms": (0, 5000),
            "silence_duration_ms": (FRAME_MS, 10_000),
            "start_voiced_ms": (1, 2000),
            "min_voiced_ms": (0, 5000),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(
                    f"{name} must lie between {low} and {high}, got {getattr(self, name)}"
                )

    @property
    def stop_threshold(self) -> float:
        """Probability below which a frame of a turn is silent."""
        return max(self.threshold - HYSTERESIS, 0.01)


class Step(Enum):
    """What a frame did."""

    SILENCE = "silence"  # nobody speaks
    START = "start"  # a turn begins; its first voiced frame was `n_pending` frames ago
    VOICE = "voice"  # the turn goes on
    PAUSE = "pause"  # silent, but the turn may go on
    END = "end"  # the turn is over
    NOISE = "noise"  # the turn is over, and was too short to be speech


class Endpointer:
    """Decides frame by frame.

    Attributes:
        n_pending: At START, frames since the first voiced one, that one included.
        n_silent: Silent frames at the end of the turn so far.
    """

    def __init__(self, options: EndpointerOptions) -> None:
        self.options = options
        self.n_pending = 0
        self.n_silent = 0
        self._is_open = False
        self._n_voiced = 0
        self._n_frames = 0

    @property
    def is_open(self) -> bool:
        """Whether somebody is speaking."""
        return self._is_open

    def push(self, probability: float, may_start: bool = True) -> Step:
        """Take the next frame's probability.

        Args:
            probability: How likely the frame is speech.
            may_start: Whether a turn may begin with it; turns that are open go on all the same.
        """
        if self._is_open:
            return self._go_on(probability)
        return self._wait(probability, may_start)

    def begin(self, n_frames: int) -> Step:
        """Begin a turn that somebody else noticed, `n_frames` frames after it began."""
        self._is_open = True
        self.n_pending = self._n_voiced = self._n_frames = n_frames
        self.n_silent = 0
        return Step.START

    def reset(self) -> None:
        """Forget the turn."""
        self._is_open = False
        self.n_pending = self.n_silent = self._n_voiced = self._n_frames = 0

    def _wait(self, probability: float, may_start: bool) -> Step:
        """Count voiced frames; one that is a little less likely does not undo those before."""
        if not may_start or probability < self.options.stop_threshold:
            self.n_pending = self._n_voiced = 0
            return Step.SILENCE
        if probability >= self.options.threshold:
            self._n_voiced += 1
        self.n_pending += self._n_voiced > 0
        if self._n_voiced < math.ceil(self.options.start_voiced_ms / FRAME_MS):
            return Step.SILENCE
        self._is_open = True
        self._n_frames = self.n_pending
        self.n_silent = 0
        return Step.START

    def _go_on(self, probability: float) -> Step:
        self._n_frames += 1
        if probability >= self.options.stop_threshold:
            self._n_voiced += 1
            self.n_silent = 0
        else:
            self.n_silent += 1
        is_over = self.n_silent * FRAME_MS >= self.options.silence_duration_ms
        if is_over or self._n_frames * FRAME_MS >= MAX_TURN_MS:
            is_speech = self._n_voiced * FRAME_MS >= self.options.min_voiced_ms
            n_silent = self.n_silent
            self.reset()
            self.n_silent = n_silent
            return Step.END if is_speech else Step.NOISE
        return Step.PAUSE if self.n_silent else Step.VOICE
