"""Codes are read with the letter model where there is one, and alone where that is wished."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from antiphon.errors import CheckpointError
from antiphon.evaluation.transcriber import CodeTranscriber
from antiphon.training.letter_counts import learn_letters
from antiphon.training.letter_grams import LETTERS_FILE, save_letters
from antiphon.training.recogniser import (
    BILINGUAL,
    ENGLISH,
    STEPS_PER_TOKEN,
    CodeRecogniser,
    save_recogniser,
    text_to_labels,
)

WIDTH = 16
BLANK = len(ENGLISH)


class Heard(CodeRecogniser):
    """A recogniser that says of each code what was written for it."""

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        said = [{"f": 0.98}, {"u": 0.55, "o": 0.44}, {"u": 0.98}, {"r": 0.98}, {}]
        rows = torch.full((len(said) * STEPS_PER_TOKEN, BLANK + 1), 1e-6)
        rows[:, BLANK] = 1.0
        for number, letters in enumerate(said):
            step = rows[number * STEPS_PER_TOKEN]
            step[BLANK] = 0.01
            for letter, chance in letters.items():
                step[ENGLISH.index(letter)] = chance
        rows[-STEPS_PER_TOKEN, BLANK] = 1.0
        return (rows / rows.sum(-1, keepdim=True)).log()[None]


@pytest.fixture
def codebook() -> Tensor:
    return torch.randn(8, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_recogniser(CodeRecogniser(WIDTH, ENGLISH), tmp_path)
    return tmp_path


def add_letters(folder: Path, alphabet: str = ENGLISH) -> None:
    labels = text_to_labels("four", alphabet)
    save_letters(learn_letters([labels] * 50, len(alphabet), 4, 1000), folder)


def read(folder: Path, codebook: Tensor, greedy: bool = False) -> str:
    transcriber = CodeTranscriber(folder, codebook)
    transcriber.model.__class__ = Heard
    return transcriber.transcribe(torch.arange(5), greedy)


def test_letters_beside_the_recogniser_help(folder: Path, codebook: Tensor) -> None:
    assert read(folder, codebook) == "fuur"
    add_letters(folder)
    assert read(folder, codebook) == "four"
    assert read(folder, codebook, greedy=True) == "fuur"


def test_no_codes_are_no_text(folder: Path, codebook: Tensor) -> None:
    add_letters(folder)
    assert CodeTranscriber(folder, codebook).transcribe(torch.tensor([], dtype=torch.long)) == ""


def test_letters_of_another_alphabet_are_refused(folder: Path, codebook: Tensor) -> None:
    add_letters(folder, BILINGUAL)
    with pytest.raises(CheckpointError, match="for 33 letters"):
        CodeTranscriber(folder, codebook)


def test_a_damaged_file_is_told(folder: Path, codebook: Tensor) -> None:
    (folder / LETTERS_FILE).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=LETTERS_FILE):
        CodeTranscriber(folder, codebook)
