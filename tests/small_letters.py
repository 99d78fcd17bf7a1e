"""A letter model of five letters and little practice, for tests."""

import random

from antiphon.training.letter_counts import learn_letters
from antiphon.training.letter_grams import LetterGrams

N_LETTERS = 5
N_SYMBOLS = N_LETTERS + 1


def small_texts(seed: int = 0, n_texts: int = 60) -> list[list[int]]:
    """Rows of up to seven letters, of which some follow others more often."""
    rng = random.Random(seed)
    texts = []
    for _ in range(n_texts):
        text = [rng.randrange(N_LETTERS)] if rng.random() < 0.9 else []
        while text and len(text) < 7 and rng.random() < 0.8:
            text.append((text[-1] + rng.choice((1, 1, 1, 2, 3))) % N_LETTERS)
        texts.append(text)
    return texts


def small_grams(order: int = 4, max_grams: int = 100, seed: int = 0) -> LetterGrams:
    """Learn from `small_texts`."""
    return learn_letters(small_texts(seed), N_LETTERS, order, max_grams)
