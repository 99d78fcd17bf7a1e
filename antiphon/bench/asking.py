"""Asks one question and writes down when what came; the clip at once, or as it is spoken."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from antiphon.bench.parts import CLIP_RATE
from antiphon.bench.playback import Sound
from antiphon.dialogue.events import (
    AudioChunk,
    Event,
    TextDelta,
    TurnDone,
    TurnFailed,
    UserTokens,
)
from antiphon.dialogue.session import Session, UserTurn
from antiphon.dialogue.speech_input import SpeechInput
from antiphon.dialogue.turn_pipeline import TurnOptions, TurnPipeline
from antiphon.models.base import Waveform

PIECE_S = 0.02
"""How much sound a microphone hands over at a time."""


@dataclass(frozen=True)
class Trace:
    """How one turn went; points in time are seconds after the end of the question.

    Attributes:
        tokens_s: When the question's speech tokens were there.
        prefill_s: How long the engine took to its first token.
        first_text_s: When the first text came.
        sounds: The blocks of sound.
        end_s: When the reply was complete, or failed.
        n_dropped_turns: Turns left out because the context was full.
        error: Why there is no whole reply; None if there is.
    """

    tokens_s: float | None
    prefill_s: float | None
    first_text_s: float | None
    sounds: tuple[Sound, ...]
    end_s: float
    n_dropped_turns: int = 0
    error: str | None = None

    @property
    def first_audio_s(self) -> float | None:
        """When the first block of sound came."""
        return self.sounds[0].at_s if self.sounds else None

    @property
    def audio_s(self) -> float:
        """Seconds of sound."""
        return sum(sound.duration_s for sound in self.sounds)


@dataclass
class Stamps:
    """When events came, on the clock of `time.perf_counter`."""

    tokens_at: float | None = None
    text_at: float | None = None
    sounds: list[Sound] = field(default_factory=list)
    last: TurnDone | TurnFailed | None = None

    def note(self, event: Event) -> None:
        """Write down one event."""
        now = time.perf_counter()
        if isinstance(event, UserTokens):
            self.tokens_at = now
        elif isinstance(event, TextDelta):
            self.text_at = self.text_at or now
        elif isinstance(event, AudioChunk):
            self.sounds.append(Sound(now, len(event.waveform) / event.sample_rate))
        else:
            self.last = event

    def trace(self, started_at: float) -> Trace:
        """Count from the end of the question."""
        last, timings = self.last, None if self.last is None else self.last.timings
        failure = last.message if isinstance(last, TurnFailed) else None
        return Trace(
            tokens_s=None if self.tokens_at is None else self.tokens_at - started_at,
            prefill_s=None if timings is None else timings.prefill_s,
            first_text_s=None if self.text_at is None else self.text_at - started_at,
            sounds=tuple(Sound(s.at_s - started_at, s.duration_s) for s in self.sounds),
            end_s=time.perf_counter() - started_at,
            n_dropped_turns=last.n_dropped_turns if isinstance(last, TurnDone) else 0,
            error=failure if last is not None else "no end in time",
        )


def greedily(max_new_tokens: int, speak: bool = True) -> TurnOptions:
    """Give options under which all systems say the same."""
    return TurnOptions(temperature=0.0, seed=0, max_new_tokens=max_new_tokens, speak=speak)


async def ask(
    pipeline: TurnPipeline,
    clip: Waveform,
    options: TurnOptions,
    *,
    session: Session | None = None,
    patience_s: float | None = None,
) -> Trace:
    """Ask a whole clip.

    Args:
        pipeline: Answers.
        clip: (n_samples,) at `CLIP_RATE`.
        options: How to answer.
        session: The conversation; None begins one.
        patience_s: After how long the turn is given up; None waits for ever.
    """
    stamps, started_at = Stamps(), time.perf_counter()
    turn = UserTurn(waveform=clip, sample_rate=CLIP_RATE)
    events = pipeline.respond(session or Session(), turn, options)
    await _note_all(events, stamps, patience_s)
    return stamps.trace(started_at)


async def ask_speaking(pipeline: TurnPipeline, clip: Waveform, options: TurnOptions) -> Trace:
    """Speak a clip at its own pace and count from its end."""
    stamps, speech = Stamps(), SpeechInput()
    turn = UserTurn(speech=speech, sample_rate=CLIP_RATE)
    speaking = asyncio.create_task(_speak(speech, clip))
    try:
        await _note_all(pipeline.respond(Session(), turn, options), stamps, None)
    finally:
        speaking.cancel()
        await asyncio.wait({speaking})
    return stamps.trace(time.perf_counter() if speaking.cancelled() else speaking.result())


async def _note_all(
    events: AsyncGenerator[Event, None], stamps: Stamps, patience_s: float | None
) -> None:
    """Note all events; a turn that takes too long is closed and left without an end."""
    try:
        async with asyncio.timeout(patience_s), aclosing(events):
            async for event in events:
                stamps.note(event)
    except TimeoutError:
        return


async def _speak(speech: SpeechInput, clip: Waveform) -> float:
    """Push a clip as a microphone would; returns when it ended."""
    n_piece = int(PIECE_S * CLIP_RATE)
    started_at = time.perf_counter()
    for first in range(0, len(clip), n_piece):
        piece = clip[first : first + n_piece]
        wait_s = started_at + (first + len(piece)) / CLIP_RATE - time.perf_counter()
        await asyncio.sleep(max(0.0, wait_s))
        speech.push(piece)
    speech.end()
    return time.perf_counter()
