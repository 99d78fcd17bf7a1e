"""Draws and speaks the questions of the full domain's evaluation, group by group.

Every question is a combination kept for testing. Knows no model.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from antiphon.evaluation.questions import speak_turn
from antiphon.models.base import Waveform
from antiphon.training.augment import coloured_noise
from antiphon.training.domain.table import FullDomain
from antiphon.training.grammar import Exchange
from antiphon.training.voices import (
    RESERVED_MANDARIN_VOICES,
    RESERVED_VOICES,
    training_voice_sample,
)

RECORDED_VOICE = RESERVED_VOICES[0]
RESERVED_ENGLISH = RESERVED_VOICES[1:]
NOT_SINGLE = ("followup", "pace", "refusal")
NOISE_DB = 10.0


@dataclass(frozen=True)
class Group:
    """Questions that are counted together.

    Attributes:
        name: Its place in the report.
        language: "en" or "zh".
        voices: Who asks, in turns.
        skills: What is asked, in turns; empty for all that need no turn before and have an answer.
        n: How many are asked.
        noise_db: Level of the speech over added noise; None for none.
    """

    name: str
    language: str
    voices: tuple[str, ...]
    n: int
    skills: tuple[str, ...] = ()
    noise_db: float | None = None


GROUPS: tuple[Group, ...] = (
    Group("English, training voices", "en", training_voice_sample("en"), 120),
    Group("English, reserved espeak-ng voices", "en", RESERVED_ENGLISH, 120),
    Group(f"English, {RECORDED_VOICE}", "en", (RECORDED_VOICE,), 72),
    Group("Mandarin, training voices", "zh", training_voice_sample("zh"), 80),
    Group("Mandarin, reserved voice", "zh", RESERVED_MANDARIN_VOICES, 80),
    Group("10 dB noise", "en", RESERVED_ENGLISH, 36, noise_db=NOISE_DB),
    Group("10 dB noise", "zh", RESERVED_MANDARIN_VOICES, 24, noise_db=NOISE_DB),
    Group("follow-ups", "en", (*RESERVED_ENGLISH, "flite:awb"), 40, ("followup",)),
    Group("follow-ups", "zh", RESERVED_MANDARIN_VOICES, 24, ("followup",)),
    Group("pace", "en", (*RESERVED_ENGLISH, "flite:awb"), 24, ("pace",)),
    Group("pace", "zh", RESERVED_MANDARIN_VOICES, 16, ("pace",)),
    Group("out of domain", "en", RESERVED_ENGLISH, 44, ("refusal",)),
    Group("out of domain", "zh", RESERVED_MANDARIN_VOICES, 20, ("refusal",)),
)


@dataclass(frozen=True)
class FullQuestion:
    """One question to ask, after the turns that come before it.

    Attributes:
        number: Its place in the evaluation; seeds the noise.
        group: Where it is counted.
        voice: Who asks.
        exchange: What is asked and the right answer.
    """

    number: int
    group: Group
    voice: str
    exchange: Exchange

    @property
    def turns(self) -> tuple[Exchange, ...]:
        """The conversation: what comes before, then the question."""
        return (*self.exchange.before, self.exchange)

    def speak(self, turn: Exchange) -> Waveform:
        """Say one turn, (n_samples,) float32 at 16 kHz."""
        clip = speak_turn(turn, self.voice)
        if turn.sound or self.group.noise_db is None:
            return clip
        noise = coloured_noise(len(clip), np.random.default_rng(self.number))
        return (clip + clip.std() * 10 ** (-self.group.noise_db / 20) * noise).astype(np.float32)


def skills_of(group: Group, domain: FullDomain) -> tuple[str, ...]:
    """List the skills of a group."""
    if group.skills:
        return group.skills
    known = [skill.name for skill in domain.table if skill.language == group.language]
    return tuple(name for name in dict.fromkeys(known) if name not in NOT_SINGLE)


def draw_full_questions(seed: int, scale: float = 1.0) -> Iterator[FullQuestion]:
    """Yield the questions of all groups: skills and voices in equal shares, few twice.

    Args:
        seed: Of the draws.
        scale: Factor on the number of questions of each group; at least one stays.
    """
    domain, number = FullDomain(), 0
    for group in GROUPS:
        rng = random.Random(f"{group.name}-{group.language}-{seed}")
        skills, seen = skills_of(group, domain), set()
        for index in range(max(1, round(group.n * scale))):
            skill = skills[index % len(skills)]
            voice = group.voices[(index // len(skills)) % len(group.voices)]
            for _ in range(100):
                exchange = domain.draw(rng, skill, reserved=True, language=group.language)
                if (exchange.question, exchange.sound, voice) not in seen:
                    break
            seen.add((exchange.question, exchange.sound, voice))
            yield FullQuestion(number, group, voice, exchange)
            number += 1
