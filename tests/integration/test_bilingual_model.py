"""The bilingual model understands voices kept for testing, in two languages, and answers."""

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest

from antiphon.assembly import ModelChoice, load_parts, open_pipeline
from antiphon.dialogue.session import Session
from antiphon.evaluation.asking import Heard, ask
from antiphon.evaluation.transcriber import CodeTranscriber
from antiphon.training.pitch import analyse_pitch
from antiphon.training.recogniser import BILINGUAL, count_errors
from antiphon.training.synthesis import say
from antiphon.training.vocoder_data import HOP, SAMPLE_RATE
from antiphon.training.voices import (
    OUTPUT_VOICES,
    RESERVED_MANDARIN_VOICES,
    RESERVED_VOICES,
)
from speech_tokenizer import SpeechTokenizer

ENGLISH = (
    "what is the capital of france",
    "what is twenty minus five",
    "which day comes after monday",
    "what is the opposite of hot",
    "count from three to nine",
)
MANDARIN = ("法国的首都是哪里", "你好你叫什么名字", "三加四等于几", "从一数到九")
MOST_ERRORS = 0.2  # of letters; a tokenizer that hears nothing has 0.8 and more


ANSWERS = {
    "what is the capital of france": "The capital of France is Paris.",
    "what is twenty minus five": "Twenty minus five is fifteen.",
    "count from three to seven": "From three to seven: three, four, five, six, seven.",
    "法国的首都是哪里": "法国的首都是巴黎。",
    "三加四等于几": "三加四等于七。",
    "从三数到七": "从三到七：三，四，五，六，七。",
}
MOST_WRONG = 2


@pytest.fixture(scope="module")
def folder(repo_root: Path) -> Path:
    return repo_root / "resources/bilingual/tokenizer"


def speak(text: str) -> np.ndarray:
    if shutil.which("espeak-ng") is None:
        pytest.skip("needs espeak-ng: install espeak-ng")
    return say(text, RESERVED_VOICES[1] if text.isascii() else RESERVED_MANDARIN_VOICES[0])


def median_pitch(waveform: np.ndarray) -> float:
    """Pitch of the decoder's sound in Hz."""
    f0 = analyse_pitch(waveform, len(waveform) // HOP, HOP, SAMPLE_RATE).f0
    return float(np.median(f0[f0 > 0]))


async def converse(folder: Path, talks: list[tuple[list[str], str | None]]) -> list[list[Heard]]:
    """Ask the questions of each talk one after the other, to be answered in its voice."""
    bundle = load_parts(ModelChoice(model=str(folder), device="cpu", dtype="float32"))
    replies = []
    async with open_pipeline(bundle) as pipeline:
        for texts, voice in talks:
            session = Session()
            replies.append([await ask(pipeline, speak(text), session, voice) for text in texts])
    return replies


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> SpeechTokenizer:
    return SpeechTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("texts", [ENGLISH, MANDARIN], ids=["english", "mandarin"])
def test_it_hears_voices_kept_for_testing(
    texts: tuple[str, ...], folder: Path, tokenizer: SpeechTokenizer
) -> None:
    transcriber = CodeTranscriber(folder, tokenizer.model.codebook.weight.detach())
    assert transcriber.alphabet == BILINGUAL
    pairs = []
    for text in texts:
        codes = tokenizer.encode(speak(text), 16_000)
        pairs.append((text, transcriber.transcribe(codes)))
    errors, total = count_errors(pairs, BILINGUAL)
    assert errors / total < MOST_ERRORS, pairs


def test_it_answers_in_the_language_of_the_question(folder: Path) -> None:
    replies = asyncio.run(converse(folder.parent, [([text], None) for text in ANSWERS]))
    said = [heard.done.text for (heard,) in replies]
    wrong = [text for text, right in zip(said, ANSWERS.values(), strict=True) if text != right]
    assert len(wrong) <= MOST_WRONG, said
    assert all(
        text.isascii() == asked.isascii() for asked, text in zip(ANSWERS, said, strict=True)
    ), said
    assert all(heard.done.audio_s > 0.5 for (heard,) in replies)


def test_it_has_three_voices_and_follows_up(folder: Path) -> None:
    talk = ["what is twenty minus five", "say that again"]
    talks: list[tuple[list[str], str | None]] = [(talk, voice) for voice in OUTPUT_VOICES]
    replies = asyncio.run(converse(folder.parent, talks))
    assert all(first.done.text == again.done.text for first, again in replies)
    pitches = [median_pitch(first.waveform) for first, _ in replies]
    by_voice = dict(zip(OUTPUT_VOICES, pitches, strict=True))
    assert by_voice["low"] < by_voice["middle"] < by_voice["high"], by_voice
