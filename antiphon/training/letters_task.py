"""Writes the letter model of a tokenizer's reading half, learned from the domain's texts alone.

What is kept for testing is never drawn: the letters of a reserved question are as new as its sound.
"""

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from antiphon.checkpoints import load_safetensors
from antiphon.training.domain.english_words import WORDS
from antiphon.training.domain.mandarin_words import MANDARIN_WORDS
from antiphon.training.domain.table import FULL, SMALL, Domain, find_domain
from antiphon.training.letter_counts import learn_letters
from antiphon.training.letter_grams import save_letters
from antiphon.training.recogniser import ENGLISH, RECOGNISER_FILE, alphabet_of, text_to_labels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LettersTaskConfig:
    """How the letter model is learned.

    Attributes:
        out: The tokenizer it is for; its recogniser tells the alphabet.
        n_texts: Texts it learns from.
        reading_share: Share of them that are rows of words, as they are read aloud.
        answer_share: Share of them that are answers and other texts said by the model.
        order: Letters of the longest n-grams.
        max_grams: N-grams that are kept; each takes 3 to 4 bytes.
        seed: Seed of the texts.
    """

    out: str = "resources/embedded/tokenizer"
    n_texts: int = 160_000
    reading_share: float = 0.25
    answer_share: float = 0.15
    order: int = 8
    max_grams: int = 350_000
    seed: int = 1


def draw_texts(config: LettersTaskConfig, domain: Domain) -> Iterator[str]:
    """Draw what somebody may say: questions with those before them, rows of words, answers.

    Every word of the lists comes at least once; a noise is a text without letters.
    """
    yield from WORDS
    if "zh" in domain.languages:
        yield from MANDARIN_WORDS
    rng = random.Random(config.seed)
    for _ in range(config.n_texts):
        kind = rng.random()
        if kind < config.reading_share:
            yield domain.reading(rng).question
        elif kind < config.reading_share + config.answer_share / 2:
            yield domain.recital(rng).answer
        else:
            exchange = domain.draw(rng)
            turns = (*exchange.before, exchange)
            if kind < config.reading_share + config.answer_share:
                yield exchange.answer
            else:
                yield from (turn.question for turn in turns if not (turn.sound and turn.question))


def write_letters(config: LettersTaskConfig, alphabet: str) -> None:
    """Learn the letters of the domain that an alphabet is for, and write them to `config.out`."""
    domain = find_domain(SMALL if alphabet == ENGLISH else FULL)
    texts = (text_to_labels(text, alphabet) for text in draw_texts(config, domain))
    grams = learn_letters(texts, len(alphabet), config.order, config.max_grams)
    save_letters(grams, Path(config.out))
    logger.info("%d n-grams of letters written to %s", len(grams.letters), config.out)


def write(config: LettersTaskConfig) -> None:
    """Write the letter model of a tokenizer.

    Raises:
        CheckpointError: If there is no recogniser in its folder.
    """
    half = load_safetensors(Path(config.out) / RECOGNISER_FILE)
    write_letters(config, alphabet_of(len(half["head.bias"])))
