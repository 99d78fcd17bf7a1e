"""What the judge expects of the full domain's answers, as grammars (JSGF) by skill and language.

Mandarin stands in characters; the judge spells them.
"""

import re
import string
from collections.abc import Sequence

from antiphon.evaluation.judge import MAX_COUNTED, alternatives
from antiphon.training import lexicon
from antiphon.training.domain.facts import JUDGED_WORDS
from antiphon.training.domain.facts_lexicon import SPELLABLE, TRANSLATIONS
from antiphon.training.domain.mandarin_lexicon import DIGITS
from antiphon.training.domain.table import FullDomain
from antiphon.training.domain.talk_lexicon import RECITALS, REFUSALS, TALK
from antiphon.training.grammar import Exchange, normalise, number_words
from antiphon.training.pronunciation import pronouncing_dictionary

NO_CHARACTERS = re.compile(r"[^\u4e00-\u9fff]+")


def grammar_name(skill: str, language: str) -> str:
    """Name a grammar: the skill, and the language where it is not English."""
    return skill if language == "en" else f"{skill}-{language}"


def grammar_of(exchange: Exchange) -> str:
    """Name the grammar of an answer; there may be none of that name."""
    return grammar_name(exchange.form or exchange.skill, exchange.language)


def counting_rules() -> dict[str, str]:
    """Rules for counting from each number, up or down, as far as one likes."""
    up = {n: f"{number_words(n)} [<up{n + 1}>]" for n in range(MAX_COUNTED)}
    down = {n: f"{number_words(n)} [<down{n - 1}>]" for n in range(1, MAX_COUNTED + 1)}
    rules = {f"up{n}": body for n, body in up.items()} | {
        f"up{MAX_COUNTED}": number_words(MAX_COUNTED)
    }
    rules |= {f"down{n}": body for n, body in down.items()} | {"down0": number_words(0)}
    return {**rules, "counting": " | ".join(f"<{rule}>" for rule in rules)}


def characters(phrases: Sequence[str]) -> str:
    """Join Mandarin phrases to a choice; those without a sign inside stay in one run.

    How a character is read depends on its neighbours.
    """
    return " | ".join(sorted({NO_CHARACTERS.sub(" ", phrase).strip() for phrase in phrases}))


def english_rules(skill: str, words: Sequence[str]) -> dict[str, str]:
    """List the rules that English answers are made of; `words` join those that are repeated."""
    return {
        "unit": alternatives(lexicon.UNITS),
        "digit": alternatives(lexicon.UNITS[1:10]),
        "tens": alternatives(lexicon.TENS),
        "number": "<unit> | <tens> [<digit>]",
        "letter": " | ".join(string.ascii_lowercase),
        "letters": " | ".join(" ".join(word) for word in SPELLABLE),  # one by one they sound alike
        "word": alternatives([*lexicon.REPEAT_WORDS, *words] if skill == "repeat" else SPELLABLE),
        "greeting": alternatives([answer for _, answer in TALK["en"]]),
        "recital": alternatives([answer for _, answer in RECITALS["en"]]),
        "refusal": alternatives([REFUSALS["en"]]),
        **{name: alternatives(phrases) for name, phrases in JUDGED_WORDS["en"].items()},
    } | (counting_rules() if skill == "count" else {})


def mandarin_rules() -> dict[str, str]:
    """List the rules that Mandarin answers are made of."""
    fixed = [answer for _, answer in (*TALK["zh"], *RECITALS["zh"])]
    return {
        "digit": characters(DIGITS[1:]),
        "tens": characters(DIGITS[2:]),
        "number": f"{DIGITS[0]} | <digit> | [<tens>] 十 [<digit>]",
        "talk": characters([*fixed, REFUSALS["zh"]]),
        **{name: characters(phrases) for name, phrases in JUDGED_WORDS["zh"].items()},
        "english": alternatives([english for english, _ in TRANSLATIONS]),
        "chinese": characters([chinese for _, chinese in TRANSLATIONS]),
    }


def skill_grammar(skill: str, language: str, answers: str, words: Sequence[str] = ()) -> str:
    """Write the grammar of one skill."""
    rules = english_rules(skill, words) if language == "en" else mandarin_rules()
    lines = [f"<{name}> = {body};" for name, body in rules.items()]
    return "\n".join(["#JSGF V1.0;", f"grammar {skill};", *lines, f"public <answer> = {answers};"])


def full_grammars() -> dict[str, str]:
    """Write the grammar of each skill whose answers can be judged, by `grammar_name`."""
    judged = (skill for skill in FullDomain().table if skill.answers)
    return {
        grammar_name(skill.name, skill.language): skill_grammar(
            skill.name, skill.language, skill.answers
        )
        for skill in judged
    }


def repeat_grammar(phrase: str) -> str:
    """Write the grammar of an English phrase: its words among the 330 of the small domain.

    With all 1,600 words of the domain the recogniser needs minutes for an answer.
    """
    known = [word for word in normalise(phrase).split() if word in pronouncing_dictionary()]
    return skill_grammar("repeat", "en", "<word>+", known)
