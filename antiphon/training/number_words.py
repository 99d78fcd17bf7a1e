"""Number words carry their value: embeddings that are made, not learned.

Left to learn, a small model memorises which two digits give which: it knew 98 % of the sums it
had practised and none of those kept for testing, which share no pair of unit digits with them.
Here units and tens lie on a circle of ten, in order, and stay there, so the model can only learn
functions of the values, and what holds for one pair holds for its neighbours. Only the lowest
frequency is used: with higher ones every digit stands apart again. Source: the numbers that
trained models arrive at (Kantamneni and Tegmark, arXiv 2502.00873, digits on a helix).
"""

import math

import torch
from torch import Tensor

from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer
from antiphon.training import grammar
from antiphon.training.domain.mandarin_lexicon import DIGITS

EMBEDDING_SCALE = 0.5
HEAD_SCALE = 1.5


def _place(value: int | None) -> list[float]:
    """A digit's point on the circle, its height, and that there is one; zeros for none."""
    if value is None:
        return [0.0, 0.0, 0.0, 0.0]
    angle = 2 * math.pi * value / 10
    return [math.cos(angle), math.sin(angle), (value - 4.5) / 4.5, 0.5]


def value_features(number: int) -> list[float]:
    """Describe a number word: eight figures, four for its units and four for its tens.

    "forty" has no units (a word for them may follow), "seven" no tens.
    """
    tens, units = divmod(number, 10)
    has_units = number < 20 or units > 0
    return _place(units if has_units else None) + _place(tens if number >= 10 else None)


def written_forms(number: int) -> tuple[str, ...]:
    """List how a number is written: inside a sentence, at the start of one or of a text, digits."""
    word = grammar.number_words(number)
    return " " + word, word.capitalize(), word, str(number)


class NumberWords:
    """Rows of the vocabulary that are numbers, and what they hold.

    Args:
        tokenizer: The text vocabulary.
        d_model: Width of the model.
        has_mandarin: Whether Chinese digits are number words too; each is its own units, and the
            character for ten is left to be learned.
        seed: Of the random directions in which the features lie.
    """

    def __init__(
        self, tokenizer: GlmTextTokenizer, d_model: int, seed: int = 0, has_mandarin: bool = False
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        n_forms = len(written_forms(0)) + has_mandarin
        basis = torch.linalg.qr(torch.randn(d_model, d_model, generator=generator))[0]
        rows: dict[int, Tensor] = {}
        for number in range(grammar.MAX_NUMBER + 1):
            features = value_features(number)
            digit = DIGITS[number : number + 1] if has_mandarin else ""
            for place, form in enumerate((*written_forms(number), digit)[:n_forms]):
                ids = tokenizer.encode(form)
                if len(ids) == 1:
                    described = torch.tensor(features + torch.eye(n_forms)[place].tolist())
                    rows[ids[0]] = described @ basis[: len(described)]
        self.ids = torch.tensor(sorted(rows))
        self.vectors = torch.stack([rows[int(row)] for row in self.ids])

    @torch.no_grad()
    def pin(self, embeddings: Tensor, head: Tensor) -> None:
        """Put the rows back in place, in the embeddings and in the head (both (V, d_model))."""
        ids = self.ids.to(embeddings.device)
        vectors = self.vectors.to(embeddings)
        embeddings[ids] = EMBEDDING_SCALE * vectors
        head[ids] = HEAD_SCALE * vectors
