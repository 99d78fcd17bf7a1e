"""Lets a model speak: one question of each skill and language, its reply, both in one sound file.

Questions are combinations kept for testing where a skill has any, in voices kept for testing.
Knows no command line.
"""

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from antiphon.audio import resample
from antiphon.dialogue.session import Session
from antiphon.dialogue.turn_pipeline import TurnPipeline
from antiphon.errors import AudioError
from antiphon.evaluation.asking import Heard, ask
from antiphon.evaluation.questions import speak_turn
from antiphon.models.base import Waveform
from antiphon.training.domain.table import Domain, FullDomain
from antiphon.training.grammar import Exchange, normalise
from antiphon.training.synthesis import SAMPLE_RATE
from antiphon.training.voices import RESERVED_MANDARIN_VOICES, RESERVED_VOICES

GAP_S = 0.4
LONGEST_S = 30.0  # a file of 4 kB a second stays below 150 kB
COMPRESSION = 0.85  # 32 kbit/s of the 8 to 160 that MP3 has at 22,050 Hz
VOICES = {"en": RESERVED_VOICES, "zh": RESERVED_MANDARIN_VOICES}


@dataclass(frozen=True)
class SampleQuestion:
    """What is asked.

    Attributes:
        language: Of the question.
        voice: "engine:name" of who asks.
        exchange: The question, its right answer and the turns before.
    """

    language: str
    voice: str
    exchange: Exchange

    @property
    def turns(self) -> Sequence[Exchange]:
        """The conversation, the question last."""
        return (*self.exchange.before, self.exchange)

    @property
    def file_name(self) -> str:
        """Name of its sound file."""
        return f"{self.exchange.skill}-{self.language}.mp3"


@dataclass(frozen=True)
class Sample:
    """A question and what the model made of it.

    Attributes:
        question: What was asked.
        answers: The replies in text, one for each turn.
        is_right: Whether the last one is the right answer.
    """

    question: SampleQuestion
    answers: Sequence[str]
    is_right: bool


def skills_of(domain: Domain) -> list[Sequence[str]]:
    """List name and language of each skill."""
    if isinstance(domain, FullDomain):
        return list(dict.fromkeys((skill.name, skill.language) for skill in domain.table))
    return [(skill, "en") for skill in domain.skills]


def draw_samples(domain: Domain, seed: int) -> list[SampleQuestion]:
    """Draw a question of each skill and language; the voices take turns."""
    questions = []
    for number, (skill, language) in enumerate(skills_of(domain)):
        rng = random.Random(f"{skill}-{language}-{seed}")
        exchange = domain.draw(rng, skill, reserved=True, language=language)
        voices = VOICES[language]
        questions.append(SampleQuestion(language, voices[number % len(voices)], exchange))
    return questions


async def converse(
    pipeline: TurnPipeline, question: SampleQuestion, voice: str | None
) -> AsyncIterator[tuple[Waveform, Heard]]:
    """Ask the turns of one conversation; yield the sound of each and the reply to it.

    Raises:
        AntiphonError: If the synthesiser fails or a reply breaks off.
    """
    session = Session()
    for turn in question.turns:
        clip = speak_turn(turn, question.voice)
        yield clip, await ask(pipeline, clip, session, voice)


async def make_sample(
    pipeline: TurnPipeline,
    question: SampleQuestion,
    folder: Path,
    sample_rate: int,
    voice: str | None = None,
) -> Sample:
    """Ask a question and write the conversation into `folder`.

    Args:
        pipeline: Answers.
        question: What is asked.
        folder: Where the file goes; it exists.
        sample_rate: Of the replies, in Hz.
        voice: To answer in; None for the model's own.

    Raises:
        AntiphonError: If a reply breaks off, or the file cannot be written.
    """
    gap = np.zeros(round(GAP_S * sample_rate), np.float32)
    sounds: list[Waveform] = []
    answers: list[str] = []
    async for clip, heard in converse(pipeline, question, voice):
        sounds += [resample(clip, SAMPLE_RATE, sample_rate), gap, heard.waveform, gap]
        answers.append(heard.done.text)
    write_mp3(folder / question.file_name, np.concatenate(sounds[:-1]), sample_rate)
    is_right = normalise(answers[-1]) == normalise(question.exchange.answer)
    return Sample(question, answers, is_right)


def write_mp3(path: Path, waveform: Waveform, sample_rate: int) -> None:
    """Write (n_samples,) as MP3 of at most 30 s; the file appears complete or not at all.

    Raises:
        AudioError: If the place or the format cannot be written.
    """
    partial = path.with_suffix(".partial")
    kept = np.clip(waveform[: round(LONGEST_S * sample_rate)], -1, 1)
    try:
        soundfile.write(
            partial,
            kept,
            sample_rate,
            format="MP3",
            subtype="MPEG_LAYER_III",
            bitrate_mode="CONSTANT",
            compression_level=COMPRESSION,
        )
        partial.replace(path)
    except (OSError, ValueError, soundfile.LibsndfileError) as error:
        raise AudioError(
            f"cannot write {path}: {error}; choose another folder, or install a soundfile whose "
            "libsndfile is 1.1 or newer"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
