"""The two domains by name: what can be asked, read aloud and recited. Knows no audio, no model."""

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence

from antiphon.errors import ConfigError
from antiphon.training import grammar
from antiphon.training.domain import facts, numbers, talk, words
from antiphon.training.domain.conversation import conversation_skills
from antiphon.training.domain.english_words import WORDS
from antiphon.training.domain.mandarin_words import MANDARIN_WORDS
from antiphon.training.domain.skill import Skill, draw_free
from antiphon.training.grammar import Exchange

SMALL, FULL = "small", "full"
MANDARIN_READINGS = 0.35
MANDARIN_RECITALS = 0.35
OTHER_WORDS = 0.35  # of readings: those that answers and questions are made of
N_TEXTS = 20_000


class Domain(ABC):
    """What a model is taught.

    Attributes:
        name: "small" or "full".
        languages: "en", and perhaps "zh".
        max_turns: Turns of its longest conversations.
    """

    name: str
    languages: tuple[str, ...]
    max_turns: int

    @property
    @abstractmethod
    def skills(self) -> tuple[str, ...]:
        """Names of the skills, each once."""

    @abstractmethod
    def draw(
        self,
        rng: random.Random,
        skill: str | None = None,
        reserved: bool = False,
        language: str | None = None,
    ) -> Exchange:
        """Draw one exchange; None draws the skill by its share of practice.

        Args:
            rng: Source of randomness.
            skill: Name of a skill.
            reserved: Whether to draw combinations kept for testing, or those free for training.
            language: None for any.
        """

    @abstractmethod
    def reading(self, rng: random.Random) -> Exchange:
        """Draw words to be read aloud: practice in hearing alone; the question holds them."""

    @abstractmethod
    def recital(self, rng: random.Random) -> Exchange:
        """Draw a text said without being asked: practice in speaking; the answer holds it."""

    @abstractmethod
    def long_count(self, rng: random.Random) -> Exchange:
        """Draw a count free for training, from a wider range than is ever asked aloud."""

    @abstractmethod
    def false_count(self, rng: random.Random) -> Exchange:
        """Draw a text to say that looks like a count and is none."""

    @abstractmethod
    def texts(self) -> list[str]:
        """List questions and answers from which the text vocabulary is learned."""


class SmallDomain(Domain):
    """Seven skills in English, as antiphon.training.grammar has them; draws are as they were."""

    name = SMALL
    languages = ("en",)
    max_turns = 1

    @property
    def skills(self) -> tuple[str, ...]:
        """Names of the skills."""
        return grammar.SKILLS

    def draw(
        self,
        rng: random.Random,
        skill: str | None = None,
        reserved: bool = False,
        language: str | None = None,
    ) -> Exchange:
        """Draw one exchange."""
        return grammar.draw(rng, skill, reserved)

    def reading(self, rng: random.Random) -> Exchange:
        """Draw words to be read aloud."""
        return Exchange("reading", grammar.reading(rng), "")

    def recital(self, rng: random.Random) -> Exchange:
        """Draw a text to say."""
        return Exchange("recital", "", grammar.recital(rng))

    def long_count(self, rng: random.Random) -> Exchange:
        """Draw a count from a wider range."""
        return grammar.free_count(rng, grammar.MAX_RECITED_START)

    def false_count(self, rng: random.Random) -> Exchange:
        """Draw a text like a count, with words among its numbers."""
        return Exchange("recital", "", grammar.false_count(rng))

    def texts(self) -> list[str]:
        """List texts for the vocabulary."""
        return grammar.all_texts()


class FullDomain(Domain):
    """All skills in English and Mandarin: a table that a new skill is added to."""

    name = FULL
    languages = ("en", "zh")
    max_turns = 2

    def __init__(self, skills: Sequence[Skill] | None = None) -> None:
        single = (*numbers.SKILLS, *facts.SKILLS, *words.SKILLS, *talk.SKILLS)
        self.table = tuple(skills or (*single, *conversation_skills(single)))

    @property
    def skills(self) -> tuple[str, ...]:
        """Names of the skills."""
        return tuple(dict.fromkeys(skill.name for skill in self.table))

    def find(self, skill: str | None, language: str | None) -> list[Skill]:
        """List the skills of a name and language.

        Raises:
            ConfigError: If there is none.
        """
        found = [
            entry
            for entry in self.table
            if skill in (None, entry.name) and language in (None, entry.language)
        ]
        if not found:
            known = ", ".join(entry.key for entry in self.table)
            raise ConfigError(f"no skill {skill} in {language}; there are {known}")
        return found

    def draw(
        self,
        rng: random.Random,
        skill: str | None = None,
        reserved: bool = False,
        language: str | None = None,
    ) -> Exchange:
        """Draw one exchange."""
        found = self.find(skill, language)
        return draw_free(rng.choices(found, [entry.weight for entry in found])[0], rng, reserved)

    def reading(self, rng: random.Random) -> Exchange:
        """Draw words to be read aloud: more of them than are ever repeated."""
        if rng.random() < MANDARIN_READINGS:
            row = "，".join(rng.choice(MANDARIN_WORDS) for _ in range(rng.randint(9, 11)))
            return Exchange("reading", row, "", language="zh")
        n_words = rng.randint(words.MAX_WORDS + 1, words.MAX_WORDS + 3)
        if rng.random() < OTHER_WORDS:
            mixed = f"{grammar.reading(rng)} {grammar.reading(rng)}".split()
            return Exchange("reading", " ".join(mixed[:n_words]), "")
        return Exchange("reading", " ".join(rng.choice(WORDS) for _ in range(n_words)), "")

    def recital(self, rng: random.Random) -> Exchange:
        """Draw a text to say: rows of words, and answers that are free for training."""
        language = "zh" if rng.random() < MANDARIN_RECITALS else "en"
        kind = rng.random()
        if kind < 0.45:
            return self.row(rng, language)
        if language == "en" and kind < 0.65:
            return Exchange("recital", "", grammar.recital(rng))
        skill = "arithmetic" if kind < 0.85 else "count"
        answer = self.draw(rng, skill, language=language).answer
        return Exchange("recital", "", answer, language=language)

    def long_count(self, rng: random.Random) -> Exchange:
        """Draw a count from a wider range, in either language."""
        language = "zh" if rng.random() < MANDARIN_RECITALS else "en"
        while True:
            exchange = numbers.count(language, rng, grammar.MAX_RECITED_START)
            if not exchange.is_reserved:
                return exchange

    def false_count(self, rng: random.Random) -> Exchange:
        """Draw a text like a count, of numbers alone, in either language."""
        return numbers.false_count("zh" if rng.random() < MANDARIN_RECITALS else "en", rng)

    def row(self, rng: random.Random, language: str) -> Exchange:
        """Draw a row of words to say, longer than what is repeated."""
        words_, comma, stop = (
            (WORDS, " ", ".") if language == "en" else (MANDARIN_WORDS, "，", "。")
        )
        n_words = rng.randint(words.MAX_WORDS + 1, words.MAX_WORDS + 3)
        text = comma.join(rng.choice(words_) for _ in range(n_words)) + stop
        return Exchange("recital", "", text[0].upper() + text[1:], language=language)

    def texts(self) -> list[str]:
        """List texts for the vocabulary: every word of the domain comes in them."""
        rng = random.Random(0)
        drawn = [self.draw(rng) for _ in range(N_TEXTS)]
        answerable = [exchange for exchange in drawn if not exchange.sound]
        spoken = [text for exchange in answerable for text in (exchange.question, exchange.answer)]
        return [*spoken, *3 * [*WORDS, *MANDARIN_WORDS]]


def find_domain(name: str) -> Domain:
    """Find a domain by name.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name == SMALL:
        return SmallDomain()
    if name == FULL:
        return FullDomain()
    raise ConfigError(f"no domain {name!r}; there are {SMALL} and {FULL}")
