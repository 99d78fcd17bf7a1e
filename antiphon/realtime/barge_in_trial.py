"""Measures turn taking while a reply plays: false interruptions, and how fast real ones are found.

Makes the microphone's sound from sounds that are given; needs no call, no client and no clock.
"""

from dataclasses import dataclass

import numpy as np

from antiphon.audio import Waveform
from antiphon.dialogue.vad import VAD_RATE, SpeechDetector
from antiphon.realtime.echo_guard import EchoGuard
from antiphon.realtime.endpointer import EndpointerOptions
from antiphon.realtime.turn_taking import TurnStarted, TurnTaker

REPORT_MS = 200
"""How often clients report their player."""

CHUNK = VAD_RATE // 50


@dataclass(frozen=True)
class EchoPath:
    """How a reply comes back.

    Attributes:
        level_db: Loudness of the echo beside the reply.
        delay_ms: Time from the player's report to the microphone.
        noise_db: Level of the room's noise.
        reverberation_s: Time in which the echo falls by 60 dB; 0 for a plain copy.
    """

    level_db: float = -12.0
    delay_ms: float = 120.0
    noise_db: float = -60.0
    reverberation_s: float = 0.0

    def apply(self, reply: Waveform, rng: np.random.Generator) -> Waveform:
        """Give what a microphone hears of (n_samples,) of a reply, as long."""
        echo = reply
        if self.reverberation_s:
            n = round(self.reverberation_s * VAD_RATE)
            decay = 10 ** (-3 * np.arange(n) / n)
            response = rng.standard_normal(n) * decay * 0.3
            response[0] = 1.0
            echo = np.convolve(reply, response / np.sqrt((response**2).sum()))[: len(reply)]
        n_late = round(self.delay_ms * VAD_RATE / 1000)
        echo = np.concatenate([np.zeros(n_late), echo])[: len(reply)]
        noise = rng.standard_normal(len(reply)) * 10 ** (self.noise_db / 20)
        return (echo * 10 ** (self.level_db / 20) + noise).astype(np.float32)


@dataclass(frozen=True)
class BargeInReport:
    """What a trial found.

    Attributes:
        played_s: Sound of replies that was played.
        n_false: Interruptions by the echo alone.
        reactions_ms: From the beginning of each real interruption to its detection; None where it
            was not noticed within its length.
    """

    played_s: float
    n_false: int
    reactions_ms: tuple[float | None, ...] = ()


def run_trial(
    detector: SpeechDetector,
    reply: Waveform,
    path: EchoPath,
    interruption: Waveform | None = None,
    at_s: tuple[float, ...] = (),
    seed: int = 0,
) -> BargeInReport:
    """Play a reply into its own microphone, with people who interrupt it or without.

    Args:
        detector: Finds speech.
        reply: (n_samples,) float32 at `VAD_RATE`.
        path: How it comes back.
        interruption: (n,) float32 at `VAD_RATE`, mixed with the echo; its first sample is where
            it begins.
        at_s: When; each is a trial of its own, as the reply ends with it.
        seed: Of noise and room.
    """
    rng = np.random.default_rng(seed)
    echo = path.apply(reply, rng)
    if interruption is None:
        found = detections(detector, reply, echo, stops=False)
        return BargeInReport(len(reply) / VAD_RATE, len(found))
    reactions: list[float | None] = []
    n_false = 0
    for start_s in at_s:
        start = round(start_s * VAD_RATE)
        mixed = echo.copy()
        n = min(len(interruption), len(mixed) - start)
        mixed[start : start + n] += interruption[:n]
        found = [ms - start_s * 1000 for ms in detections(detector, reply, mixed, stops=False)]
        n_false += sum(ms <= 0 for ms in found)
        real = [ms for ms in found if 0 < ms <= n * 1000 / VAD_RATE]
        reactions.append(real[0] if real else None)
    return BargeInReport(len(at_s) * len(reply) / VAD_RATE, n_false, tuple(reactions))


def detections(
    detector: SpeechDetector, reply: Waveform, microphone: Waveform, *, stops: bool
) -> list[float]:
    """Say when turns begin while a reply plays, in ms; only the first if it `stops` the reply."""
    guard = EchoGuard()
    taker = TurnTaker(detector.open_stream(), EndpointerOptions(), guard)
    guard.is_active = True
    guard.begin(0.0)
    guard.add(reply)
    found: list[float] = []
    for start in range(0, len(microphone), CHUNK):
        heard_ms = start * 1000 / VAD_RATE
        if start // CHUNK % (REPORT_MS * VAD_RATE // 1000 // CHUNK) == 0:
            guard.note_position(heard_ms, heard_ms)
        for event in taker.push(microphone[start : start + CHUNK]):
            if isinstance(event, TurnStarted):
                found.append(taker.position_ms)
                taker.end()
                if stops:
                    return found
    return found
