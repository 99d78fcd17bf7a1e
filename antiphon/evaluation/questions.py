"""Draws and speaks the questions of an evaluation; what is reserved, training.grammar says."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from antiphon.audio import pcm16_to_float
from antiphon.models.base import Waveform
from antiphon.training import grammar
from antiphon.training.grammar import Exchange
from antiphon.training.synthesis import say, synthesise_text
from antiphon.training.voices import RESERVED_VOICES, Speaking, training_voice_sample

GROUPS = ("reserved", "training")


@dataclass(frozen=True)
class Question:
    """One question to ask.

    Attributes:
        group: "reserved" (voices never trained on) or "training" (voices heard in training).
        voice: "engine:name" of the synthesiser.
        exchange: What is asked and the right answer; combinations are reserved ones in both groups.
    """

    group: str
    voice: str
    exchange: Exchange

    def speak(self) -> Waveform:
        """Synthesise the question, (n_samples,) float32 at 16 kHz."""
        return say(self.exchange.question, self.voice)


def speak_turn(turn: Exchange, voice: str) -> Waveform:
    """Say a question in a voice, or make its noise; (n_samples,) float32 at 16 kHz."""
    if turn.sound:
        return pcm16_to_float(synthesise_text(turn.question, Speaking(turn.sound)))
    return say(turn.question, voice)


def voices_of(group: str) -> tuple[str, ...]:
    """List the voices of a group."""
    return RESERVED_VOICES if group == "reserved" else training_voice_sample()


def draw_questions(group: str, n: int, seed: int) -> Iterator[Question]:
    """Yield `n` questions: skills and voices in equal shares, none twice in the same voice."""
    rng = random.Random(f"{group}-{seed}")
    voices, seen = voices_of(group), set()
    for index in range(n):
        skill = grammar.SKILLS[index % len(grammar.SKILLS)]
        voice = voices[(index // len(grammar.SKILLS)) % len(voices)]
        for _ in range(100):
            exchange = grammar.draw(rng, skill, reserved=True)
            if (exchange.question, voice) not in seen:
                break
        seen.add((exchange.question, voice))
        yield Question(group, voice, exchange)
