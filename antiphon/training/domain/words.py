"""Repeating, spelling and translating words."""

import random
import re
from functools import partial

from antiphon.training.domain import facts_lexicon
from antiphon.training.domain.english_words import WORDS
from antiphon.training.domain.mandarin_words import MANDARIN_WORDS
from antiphon.training.domain.skill import Skill, fact
from antiphon.training.grammar import Exchange, is_reserved_phrase, sentence

MAX_WORDS = 8
REPEATED = {
    "en": ("repeat after me, {}", "please repeat, {}", "say, {}", "repeat, {}", "say after me, {}"),
    "zh": ("跟我说，{}", "请重复，{}", "请跟我念，{}", "重复一遍，{}", "请跟我说，{}"),
}

PHRASE = re.compile(r"[A-Z][a-z']*( [a-z']+)*\.")
SPELLED = re.compile(r"[A-Z][a-z]+ is spelled ")
REPEATABLE = frozenset(WORDS)


def as_written(answer: str) -> str:
    """Write an answer that begins with a word of the question's as if it stood further on.

    "Window chair." becomes " window chair.", "Window is spelled W, ..." likewise: a word is one
    text token after a space, and several in most other places. Answers that begin with words of
    their own stay as they are.
    """
    is_phrase = PHRASE.fullmatch(answer) and REPEATABLE.issuperset(answer[:-1].lower().split())
    if is_phrase or SPELLED.match(answer):
        return f" {answer[0].lower()}{answer[1:]}"
    return answer


def repeat(language: str, rng: random.Random) -> Exchange:
    """Draw up to eight words to say again."""
    words, comma = (WORDS, " ") if language == "en" else (MANDARIN_WORDS, "，")
    n_words = min(rng.randint(1, MAX_WORDS), rng.randint(1, MAX_WORDS))  # short ones more often
    phrase = comma.join(rng.choice(words) for _ in range(n_words))
    question = rng.choice(REPEATED[language]).format(phrase)
    answer = sentence(phrase) if language == "en" else phrase + "。"
    return Exchange("repeat", question, answer, is_reserved_phrase(phrase), language)


def spell(rng: random.Random) -> Exchange:
    """Draw a word to spell."""
    word = rng.choice(facts_lexicon.SPELLABLE)
    wordings = (
        "spell {}",
        "how do you spell {}",
        "please spell {}",
        "can you spell {}",
        "spell the word {}",
        "how is {} spelled",
        "tell me how to spell {}",
        "spell {} please",
    )
    letters = ", ".join(word.upper())
    return fact("spell", "en", rng, wordings, word, f"{word.capitalize()} is spelled {letters}.")


def translate(rng: random.Random) -> Exchange:
    """Draw an English word whose Chinese name is asked in English."""
    english, chinese = rng.choice(facts_lexicon.TRANSLATIONS)
    wordings = (
        "how do you say {} in Chinese",
        "what is {} in Chinese",
        "translate {} into Chinese",
        "what is the Chinese word for {}",
        "say {} in Chinese",
        "how is {} said in Chinese",
        "what does {} mean in Chinese",
        "tell me the Chinese word for {}",
    )
    return fact("translate", "en", rng, wordings, english, f"In Chinese, {english} is {chinese}.")


def chinese_translate(rng: random.Random) -> Exchange:
    """Draw a Chinese word whose English name is asked in Mandarin."""
    english, chinese = rng.choice(facts_lexicon.TRANSLATIONS)
    wordings = (
        "{}用英语怎么说",
        "{}的英语是什么",
        "把{}翻译成英语",
        "英语里{}怎么说",
        "请把{}翻译成英语",
        "告诉我{}的英语",
        "请问{}用英语怎么说",
        "{}的英语怎么说",
    )
    return fact("translate", "zh", rng, wordings, chinese, f"{chinese}的英语是 {english}。")


SKILLS: tuple[Skill, ...] = (
    Skill("repeat", "en", partial(repeat, "en"), 0.22, "<word>+"),
    Skill("spell", "en", spell, 0.06, "<word> is spelled <letters>"),
    Skill("translate", "en", translate, 0.07),
    Skill("repeat", "zh", partial(repeat, "zh"), 0.12),
    Skill("translate", "zh", chinese_translate, 0.06, "<chinese> 的英语是 <english>"),
)
