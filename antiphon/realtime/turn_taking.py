"""From a microphone's samples to turns: who begins to speak when, and with which samples.

Joins the detector, the endpointer and the echo guard; knows no socket and no dialogue. The silence
that ends a turn is held back, and most of it is never handed on.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from antiphon.audio import Waveform
from antiphon.dialogue.vad import FRAME_MS, FRAME_SIZE, DetectorStreamLike
from antiphon.realtime.echo_guard import EchoGuard
from antiphon.realtime.endpointer import Endpointer, EndpointerOptions, Step

TAIL_MS = 160
"""Silence after a pause's beginning that the model hears: speech fades, and tokens are 80 ms."""

GUARD_FRAMES = 16
"""Frames kept besides the padding, as an interruption is noticed later than other speech."""


@dataclass(frozen=True, eq=False)
class TurnStarted:
    """Somebody begins to speak.

    Attributes:
        start_ms: Where the turn begins in the input, padding included.
        samples: The turn so far, (n,) float32 at `VAD_RATE`.
    """

    start_ms: int
    samples: Waveform


@dataclass(frozen=True, eq=False)
class TurnSound:
    """More of an open turn, (n,) float32 at `VAD_RATE`."""

    samples: Waveform


@dataclass(frozen=True)
class TurnEnded:
    """The turn is over.

    Attributes:
        end_ms: End of the last voiced frame in the input.
        decided_ms: Where in the input this was decided.
        is_speech: False for noise.
    """

    end_ms: int
    decided_ms: int
    is_speech: bool


TurnEvent = TurnStarted | TurnSound | TurnEnded


class TurnTaker:
    """Watches one microphone.

    Args:
        detector: Its own stream of the detector.
        options: How turns are told from silence.
        guard: Told what plays; None where nothing can be heard back.

    Attributes:
        is_deaf: While True, no turn begins (half duplex).
    """

    def __init__(
        self,
        detector: DetectorStreamLike,
        options: EndpointerOptions,
        guard: EchoGuard | None = None,
    ) -> None:
        self.is_deaf = False
        self._detector = detector
        self._endpointer = Endpointer(options)
        self._guard = guard
        self._rest = np.zeros(0, np.float32)
        self._n_frames = 0
        self._before: deque[Waveform] = deque(maxlen=self._n_before(options))
        self._held: list[Waveform] = []

    @property
    def is_open(self) -> bool:
        """Whether somebody is speaking."""
        return self._endpointer.is_open

    @property
    def position_ms(self) -> int:
        """Where in the input the next frame begins."""
        return self._n_frames * FRAME_MS

    def change(self, options: EndpointerOptions) -> None:
        """Use other options from the next frame on; an open turn goes on."""
        self._endpointer.options = options
        self._before = deque(self._before, maxlen=self._n_before(options))

    def push(self, samples: Waveform) -> Iterator[TurnEvent]:
        """Take (n,) float32 at `VAD_RATE`, cut in any way; yield what happens."""
        samples = np.concatenate([self._rest, samples])
        n_whole = len(samples) // FRAME_SIZE * FRAME_SIZE
        self._rest = samples[n_whole:].copy()
        for start in range(0, n_whole, FRAME_SIZE):
            yield from self._take(samples[start : start + FRAME_SIZE])

    def end(self) -> TurnEnded | None:
        """End the open turn here, if there is one; what was held back is dropped."""
        if not self.is_open:
            return None
        end_ms = self.position_ms - self._endpointer.n_silent * FRAME_MS
        self._endpointer.reset()
        self._forget()
        return TurnEnded(end_ms, self.position_ms, is_speech=True)

    def _take(self, frame: Waveform) -> Iterator[TurnEvent]:
        """Decide about one frame, and hand on what belongs to a turn."""
        was_open = self.is_open
        step = self._decide(frame)
        self._n_frames += 1
        if not was_open:
            self._before.append(frame)
        if step is Step.START:
            yield self._start()
        elif step in (Step.VOICE, Step.PAUSE):
            yield from self._go_on(frame)
        elif step in (Step.END, Step.NOISE):
            end_ms = self.position_ms - self._endpointer.n_silent * FRAME_MS
            self._forget()
            yield TurnEnded(end_ms, self.position_ms, step is Step.END)

    def _decide(self, frame: Waveform) -> Step:
        probability = self._detector.push(frame)
        if self.is_open:
            return self._endpointer.push(probability)
        if self._guard is None or not self._guard.is_active:
            return self._endpointer.push(probability, may_start=not self.is_deaf)
        threshold, end_ms = self._endpointer.options.threshold, self.position_ms + FRAME_MS
        n_frames = self._guard.push(frame, probability, threshold, end_ms)
        if n_frames and not self.is_deaf:
            return self._endpointer.begin(n_frames)
        return Step.SILENCE

    def _start(self) -> TurnStarted:
        """Begin with the padding and the frames that led to the decision."""
        padding = math.ceil(self._endpointer.options.prefix_padding_ms / FRAME_MS)
        n_wanted = padding + self._endpointer.n_pending
        frames = list(self._before)[-n_wanted:]
        self._forget()
        start_ms = self.position_ms - len(frames) * FRAME_MS
        return TurnStarted(start_ms, np.concatenate(frames))

    def _go_on(self, frame: Waveform) -> Iterator[TurnEvent]:
        """Hand a frame on, or hold it back in a pause that may be the end."""
        if self._endpointer.n_silent * FRAME_MS > TAIL_MS:
            self._held.append(frame)
            return
        yield TurnSound(np.concatenate([*self._held, frame]))
        self._held.clear()

    def _forget(self) -> None:
        self._held.clear()
        self._before.clear()

    @staticmethod
    def _n_before(options: EndpointerOptions) -> int:
        n_starting = math.ceil(options.start_voiced_ms / FRAME_MS)
        return math.ceil(options.prefix_padding_ms / FRAME_MS) + n_starting + GUARD_FRAMES
