"""Small talk, recitals, and what is refused. Knows no audio; noises are named, not made."""

import random
import re
from functools import partial

from antiphon.training.domain import talk_lexicon as lexicon
from antiphon.training.domain.english_words import WORDS
from antiphon.training.domain.mandarin_words import MANDARIN_WORDS
from antiphon.training.domain.skill import Skill, is_kept
from antiphon.training.grammar import Exchange

REFUSAL = "refusal"
KINDS = {"words": 0.65, "noise": 0.2, "foreign": 0.15}  # of what nobody can answer
MANDARIN_STRANGE = 0.35


def talk(name: str, language: str, table: lexicon.Talk, rng: random.Random) -> Exchange:
    """Draw one of some fixed asks in one of its wordings."""
    wordings, answer = rng.choice(table)
    number = rng.randrange(len(wordings))
    # One wording in five, spread over the asks, and never the first: each ask has one to learn.
    place = table.index((wordings, answer)) + number
    is_reserved = number > 0 and place % 5 == 4
    return Exchange(name, wordings[number], answer, is_reserved, language)


def strange(language: str, rng: random.Random) -> Exchange:
    """Draw a sentence that the domain has no answer to."""
    words = WORDS if language == "en" else MANDARIN_WORDS
    wording = rng.choice(lexicon.STRANGE[language])
    question = re.sub(r"\{\}", lambda _: rng.choice(words), wording)
    kept = is_kept(REFUSAL, question)
    return Exchange(REFUSAL, question, lexicon.REFUSALS[language], kept, language)


def noise(rng: random.Random) -> Exchange:
    """Draw a noise, told apart by a number: the same number always sounds the same."""
    kind, number = rng.choice(lexicon.NOISES), rng.randrange(10_000)
    sound = f"noise:{kind}-{number}"
    kept = is_kept(REFUSAL, sound)
    return Exchange(REFUSAL, "", lexicon.REFUSALS["en"], kept, sound=sound)


def foreign(rng: random.Random) -> Exchange:
    """Draw a sentence in a language that is neither English nor Mandarin."""
    language = rng.choice(list(lexicon.FOREIGN))
    text = rng.choice(lexicon.FOREIGN[language])
    kept = is_kept(REFUSAL, text)
    return Exchange(REFUSAL, text, lexicon.REFUSALS["en"], kept, sound=f"espeak-ng:{language}")


def refusal(language: str, rng: random.Random) -> Exchange:
    """Draw what is to be refused in a language; noises and other languages count as English."""
    if language == "zh":
        return strange("zh", rng)
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    if kind == "noise":
        return noise(rng)
    return foreign(rng) if kind == "foreign" else strange("en", rng)


SKILLS: tuple[Skill, ...] = tuple(
    skill
    for language, share in (("en", 1.0), ("zh", 0.6))
    for skill in (
        Skill(
            "greeting",
            language,
            partial(talk, "greeting", language, lexicon.TALK[language]),
            0.08 * share,
            "<greeting>" if language == "en" else "<talk>",
        ),
        Skill(
            "recite",
            language,
            partial(talk, "recite", language, lexicon.RECITALS[language]),
            0.05 * share,
            "<recital>" if language == "en" else "<talk>",
            asked=False,
        ),
        Skill(
            REFUSAL,
            language,
            partial(refusal, language),
            0.08 * share,
            "<refusal>" if language == "en" else "<talk>",
            asked=False,
        ),
    )
)
