"""The embedded model understands voices kept for testing, in two languages, and answers."""

import asyncio
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
from tests.programs import find_espeak

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
SAID_AGAIN = ("what is twenty minus five", "say that again")
Talk = tuple[tuple[str, ...], str | None]
TALKS: tuple[Talk, ...] = (
    *(((text,), None) for text in ANSWERS),
    *((SAID_AGAIN, voice) for voice in OUTPUT_VOICES),
)


@pytest.fixture(scope="module")
def folder(repo_root: Path) -> Path:
    return repo_root / "resources/embedded/tokenizer"


def speak(text: str) -> np.ndarray:
    find_espeak()
    return say(text, RESERVED_VOICES[1] if text.isascii() else RESERVED_MANDARIN_VOICES[0])


def median_pitch(waveform: np.ndarray) -> float:
    """Pitch of the decoder's sound in Hz."""
    f0 = analyse_pitch(waveform, len(waveform) // HOP, HOP, SAMPLE_RATE).f0
    return float(np.median(f0[f0 > 0]))


async def converse(folder: Path) -> dict[Talk, list[Heard]]:
    """Ask the questions of each talk one after the other, to be answered in its voice."""
    bundle = load_parts(ModelChoice(model=str(folder), device="cpu", dtype="float32"))
    replies = {}
    async with open_pipeline(bundle) as pipeline:
        for texts, voice in TALKS:
            session = Session()
            heard = [await ask(pipeline, speak(text), session, voice) for text in texts]
            replies[texts, voice] = heard
    return replies


@pytest.fixture(scope="module")
def replies(folder: Path) -> dict[Talk, list[Heard]]:
    return asyncio.run(converse(folder.parent))


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


def test_it_answers_in_the_language_of_the_question(replies: dict[Talk, list[Heard]]) -> None:
    heard = {text: replies[(text,), None][0] for text in ANSWERS}
    said = {text: reply.done.text for text, reply in heard.items()}
    assert sum(said[text] != right for text, right in ANSWERS.items()) <= MOST_WRONG, said
    assert all(text.isascii() == answer.isascii() for text, answer in said.items()), said
    assert all(reply.done.audio_s > 0.5 for reply in heard.values())


def test_it_says_again_what_it_said(replies: dict[Talk, list[Heard]]) -> None:
    first, again = replies[SAID_AGAIN, "middle"]
    assert first.done.text
    assert again.done.text == first.done.text


def test_its_three_voices_differ_in_pitch(replies: dict[Talk, list[Heard]]) -> None:
    low, middle, high = (
        median_pitch(replies[SAID_AGAIN, voice][0].waveform) for voice in ("low", "middle", "high")
    )
    assert 1.1 * low < middle < high / 1.05
