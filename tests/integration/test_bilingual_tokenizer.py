"""The bilingual tokenizer hears voices that it was not trained on, in two languages."""

import shutil
from pathlib import Path

import pytest

from antiphon.evaluation.transcriber import CodeTranscriber
from antiphon.training.recogniser import BILINGUAL, count_errors
from antiphon.training.synthesis import say
from antiphon.training.voices import RESERVED_MANDARIN_VOICES, RESERVED_VOICES
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


@pytest.fixture(scope="module")
def folder(repo_root: Path) -> Path:
    return repo_root / "resources/bilingual/tokenizer"


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> SpeechTokenizer:
    return SpeechTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("voice", "texts"),
    [(RESERVED_VOICES[1], ENGLISH), (RESERVED_MANDARIN_VOICES[0], MANDARIN)],
    ids=["english", "mandarin"],
)
def test_it_hears_voices_kept_for_testing(
    voice: str, texts: tuple[str, ...], folder: Path, tokenizer: SpeechTokenizer
) -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("needs espeak-ng: install espeak-ng")
    transcriber = CodeTranscriber(folder, tokenizer.model.codebook.weight.detach())
    assert transcriber.alphabet == BILINGUAL
    pairs = []
    for text in texts:
        codes = tokenizer.encode(say(text, voice), 16_000)
        pairs.append((text, transcriber.transcribe(codes)))
    errors, total = count_errors(pairs, BILINGUAL)
    assert errors / total < MOST_ERRORS, pairs
