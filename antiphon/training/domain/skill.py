"""What a skill is: how it is drawn, how often it is practised, how its answers look.

Knows no skill in particular, no audio and no model.
"""

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from antiphon.training.grammar import Exchange

KEPT_EVERY, KEPT_REMAINDER = 5, 2


def is_kept(skill: str, combination: str) -> bool:
    """Tell whether a combination of wording and content is kept for testing: one in five.

    The skills of the small domain that have a rule of their own go on with that.
    """
    return zlib.crc32(f"{skill}:{combination}".encode()) % KEPT_EVERY == KEPT_REMAINDER


@dataclass(frozen=True)
class Skill:
    """One thing the model can do, in one language.

    Attributes:
        name: Shared by the languages.
        language: "en" or "zh".
        draw: Draws an exchange of it, reserved or not.
        weight: Share of practice, on the scale of the other skills' weights.
        answers: Right-hand side of a JSGF rule for the answers, Mandarin in characters; empty where
            nobody can judge their sound.
        asked: Whether the skill is one of those that follow-ups may come after.
    """

    name: str
    language: str
    draw: Callable[[random.Random], Exchange]
    weight: float
    answers: str = ""
    asked: bool = True

    @property
    def key(self) -> str:
        """Name and language, such as "count-zh"."""
        return f"{self.name}-{self.language}"


def draw_free(skill: Skill, rng: random.Random, reserved: bool) -> Exchange:
    """Draw until the exchange is on the wanted side of the split."""
    while True:
        exchange = skill.draw(rng)
        if exchange.is_reserved == reserved:
            return exchange


def fact(
    name: str, language: str, rng: random.Random, wordings: Sequence[str], item: str, answer: str
) -> Exchange:
    """Build a question from one of some wordings; the pair of wording and item is what is kept."""
    question = rng.choice(wordings).format(item)
    return Exchange(name, question, answer, is_kept(name, question), language)
