"""What the judge expects of the full domain's English answers, as grammars (JSGF) by skill."""

import string
from collections.abc import Sequence

from antiphon.evaluation.judge import MAX_COUNTED, alternatives
from antiphon.training import lexicon
from antiphon.training.domain.facts import JUDGED_WORDS
from antiphon.training.domain.facts_lexicon import SPELLABLE
from antiphon.training.domain.table import FullDomain
from antiphon.training.domain.talk_lexicon import RECITALS, REFUSALS, TALK
from antiphon.training.grammar import number_words
from antiphon.training.pronunciation import pronouncing_dictionary


def counting_rules() -> dict[str, str]:
    """Rules for counting from each number, up or down, as far as one likes."""
    up = {n: f"{number_words(n)} [<up{n + 1}>]" for n in range(MAX_COUNTED)}
    down = {n: f"{number_words(n)} [<down{n - 1}>]" for n in range(1, MAX_COUNTED + 1)}
    rules = {f"up{n}": body for n, body in up.items()} | {
        f"up{MAX_COUNTED}": number_words(MAX_COUNTED)
    }
    rules |= {f"down{n}": body for n, body in down.items()} | {"down0": number_words(0)}
    return {**rules, "counting": " | ".join(f"<{rule}>" for rule in rules)}


def rules_of(skill: str, words: Sequence[str] = ()) -> dict[str, str]:
    """List the rules that answers are made of; `words` join those that are repeated."""
    rules = {
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
        **{name: alternatives(phrases) for name, phrases in JUDGED_WORDS.items()},
    }
    return rules | (counting_rules() if skill == "count" else {})


def skill_grammar(skill: str, answers: str, words: Sequence[str] = ()) -> str:
    """Write the grammar of one skill."""
    lines = [f"<{name}> = {body};" for name, body in rules_of(skill, words).items()]
    return "\n".join(["#JSGF V1.0;", f"grammar {skill};", *lines, f"public <answer> = {answers};"])


def full_grammars() -> dict[str, str]:
    """Write the grammar of each English skill whose answers are English alone."""
    judged = (skill for skill in FullDomain().table if skill.answers)
    return {skill.name: skill_grammar(skill.name, skill.answers) for skill in judged}


def repeat_grammar(words: Sequence[str]) -> str:
    """Write the grammar of a phrase: its words among the 330 of the small domain.

    With all 1,600 words of the domain the recogniser needs minutes for an answer.
    """
    known = [word for word in words if word in pronouncing_dictionary()]
    return skill_grammar("repeat", "<word>+", known)
