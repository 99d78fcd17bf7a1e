"""The letter model learns from what is free for training, and from every word."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from antiphon.errors import CheckpointError
from antiphon.training.domain.english_words import WORDS
from antiphon.training.domain.mandarin_words import MANDARIN_WORDS
from antiphon.training.domain.table import Domain, FullDomain, SmallDomain
from antiphon.training.grammar import Exchange
from antiphon.training.letter_grams import LETTERS_FILE
from antiphon.training.letter_model import load_letters
from antiphon.training.letters_task import LettersTaskConfig, draw_texts, write, write_letters
from antiphon.training.recogniser import (
    BILINGUAL,
    ENGLISH,
    RECOGNISER_FILE,
    CodeRecogniser,
    text_to_labels,
)

FEW = LettersTaskConfig(n_texts=3000, order=5, max_grams=20_000)


class WatchedDomain(FullDomain):
    """Remembers what was drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[Exchange] = []

    def draw(self, *arguments: object, **named: object) -> Exchange:  # type: ignore[override]
        exchange = super().draw(*arguments, **named)  # type: ignore[arg-type]
        self.drawn.append(exchange)
        return exchange


def test_nothing_that_is_kept_for_testing_is_drawn() -> None:
    domain = WatchedDomain()
    texts = list(draw_texts(FEW, domain))
    assert len(domain.drawn) > 1500
    assert not any(exchange.is_reserved for exchange in domain.drawn)
    asked = {turn.question for each in domain.drawn for turn in (*each.before, each)}
    assert len(asked.intersection(texts)) > 500


def test_turns_before_are_texts_and_foreign_questions_are_not() -> None:
    domain = WatchedDomain()
    texts = set(draw_texts(replace(FEW, reading_share=0.0, answer_share=0.0), domain))
    before = {turn.question for exchange in domain.drawn for turn in exchange.before}
    foreign = {e.question for e in domain.drawn if e.sound and e.question}
    noises = [e for e in domain.drawn if e.sound and not e.question]
    assert before and before <= texts
    assert foreign and noises
    assert not foreign & texts
    assert "" in texts


@pytest.mark.parametrize(
    ("domain", "words"), [(SmallDomain(), WORDS), (FullDomain(), MANDARIN_WORDS)]
)
def test_every_word_comes(domain: Domain, words: tuple[str, ...]) -> None:
    assert set(words) <= set(draw_texts(replace(FEW, n_texts=0), domain))


def test_a_seed_gives_the_same_texts() -> None:
    few = replace(FEW, n_texts=200)
    first, again, other = (
        list(draw_texts(replace(few, seed=seed), FullDomain())) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_it_prefers_what_can_be_said_in_both_languages(tmp_path: Path) -> None:
    write_letters(replace(FEW, out=str(tmp_path)), BILINGUAL)
    model = load_letters(tmp_path, len(BILINGUAL))

    def score(text: str) -> float:
        return model.score(text_to_labels(text, BILINGUAL))

    assert score("what is three plus four") > score("what is three plus fur") + 3
    assert score("三加四等于几") > score("三加四等于气") + 3


def test_the_alphabet_is_that_of_the_recogniser(tmp_path: Path) -> None:
    half = CodeRecogniser(16, ENGLISH, n_layers=1, n_heads=1).state_dict()
    save_file({k: torch.clone(v) for k, v in half.items()}, tmp_path / RECOGNISER_FILE)
    write(replace(FEW, n_texts=100, out=str(tmp_path)))
    assert load_letters(tmp_path, len(ENGLISH)).n_symbols == len(ENGLISH) + 1
    with pytest.raises(CheckpointError, match=f"for {len(ENGLISH)} letters"):
        load_letters(tmp_path, len(BILINGUAL))
    assert not list(tmp_path.glob(f"{LETTERS_FILE}.part"))


def test_a_folder_without_recogniser_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=RECOGNISER_FILE):
        write(replace(FEW, out=str(tmp_path)))
