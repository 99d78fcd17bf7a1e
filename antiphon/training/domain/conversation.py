"""Follow-ups and pace: what can only be answered with the turn before in mind."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from antiphon.training.domain import facts
from antiphon.training.domain.numbers import (
    SIGNS,
    arithmetic_exchange,
    calculate,
    draw_operands,
    say_number,
)
from antiphon.training.domain.skill import Skill, draw_free, is_kept
from antiphon.training.grammar import MAX_NUMBER, Exchange

SLOW, FAST = 1.4, 0.7
SAY_AGAIN = {
    "en": (
        "say that again",
        "again please",
        "once more please",
        "please repeat that",
        "what did you say",
    ),
    "zh": ("再说一遍", "请再说一次", "你说什么", "再来一遍", "请重复一下"),
}
RECALL = {
    "en": ("what did I just ask", "what was my question", "what did I ask you", "what did I say"),
    "zh": ("我刚才问了什么", "我的问题是什么", "我刚才说了什么", "我问了你什么"),
}
PACES: dict[str, dict[float, tuple[str, ...]]] = {
    "en": {
        SLOW: ("slower please", "say it slower", "again, slowly", "speak more slowly",
               "too fast, slow down"),
        FAST: ("faster please", "say it faster", "again, quickly", "speak faster",
               "too slow, speed up"),
    },
    "zh": {
        SLOW: ("说慢一点", "请慢一点", "再慢慢说一遍", "太快了，慢一点", "慢点说"),
        FAST: ("说快一点", "请快一点", "再快点说一遍", "太慢了，快一点", "快点说"),
    },
}  # fmt: skip
FURTHER = {
    "en": ("and {} {}", "now {} {}", "and what {} {}"),
    "zh": ("再{}{}呢", "再{}{}", "然后{}{}"),
}


def ask_first(pool: Sequence[Skill], rng: random.Random) -> Exchange:
    """Draw the turn before; what is reserved must not be heard there either."""
    skills = [skill for skill in pool if skill.asked]
    skill = rng.choices(skills, [skill.weight for skill in skills])[0]
    return draw_free(skill, rng, reserved=False)


def again(language: str, pool: Sequence[Skill], rng: random.Random) -> Exchange:
    """Draw "say that again": the same answer once more."""
    first, question = ask_first(pool, rng), rng.choice(SAY_AGAIN[language])
    kept = is_kept("followup", f"{question}|{first.question}")
    form = first.form or first.skill
    return Exchange("followup", question, first.answer, kept, language, form=form, before=(first,))


def recall(language: str, pool: Sequence[Skill], rng: random.Random) -> Exchange:
    """Draw "what did I just ask?": the question before comes back."""
    first, question = ask_first(pool, rng), rng.choice(RECALL[language])
    answer = f"You asked: {first.question}." if language == "en" else f"你问：{first.question}。"
    kept = is_kept("followup", f"{question}|{first.question}")
    return Exchange("followup", question, answer, kept, language, form="recall", before=(first,))


def go_on(language: str, pool: Sequence[Skill], rng: random.Random) -> Exchange:
    """Draw "and plus two?": the result before is calculated with."""
    sign = rng.choices((0, 1, 2), (4, 4, 1))[0]
    left, right = draw_operands(sign, rng)
    start = draw_sum_to(left, language, rng)
    wording = rng.choice(FURTHER[language])
    question = wording.format(SIGNS[language][sign], say_number(right, language))
    full = arithmetic_exchange(left, sign, right, language, "{}")
    return replace(full, skill="followup", question=question, form="arithmetic", before=(start,))


def draw_sum_to(result: int, language: str, rng: random.Random) -> Exchange:
    """Draw a sum or difference, free for training, that comes to `result`."""
    while True:
        sign = rng.randrange(2)
        second = rng.randint(0, result if sign == 0 else MAX_NUMBER - result)
        first = result - second if sign == 0 else result + second
        wording = "what is {}" if language == "en" else "{}等于几"
        exchange = arithmetic_exchange(first, sign, second, language, wording)
        if not exchange.is_reserved:
            assert calculate(first, sign, second) == result
            return exchange


def next_country(language: str, pool: Sequence[Skill], rng: random.Random) -> Exchange:
    """Draw "and of Italy?" after a question for a capital or an opposite."""
    name = rng.choice(("capitals", "opposites"))
    draw = {
        ("capitals", "en"): facts.capitals,
        ("capitals", "zh"): facts.chinese_capitals,
        ("opposites", "en"): facts.opposites,
        ("opposites", "zh"): facts.chinese_opposites,
    }[name, language]
    first = draw_free(Skill(name, language, draw, 1.0), rng, reserved=False)
    second = draw(rng)
    if language == "en":
        item = second.answer.removeprefix("The ").split(" of ", 1)[1].split(" is ")[0]
        question = rng.choice(("and of {}", "and what about {}")).format(item)
    else:
        item = second.answer.split("的")[0]
        question = rng.choice(("{}呢", "那{}呢")).format(item)
    kept = is_kept("followup", f"{question}|{first.question}")
    return replace(
        second, skill="followup", question=question, is_reserved=kept, form=name, before=(first,)
    )


def followup(language: str, pool: Sequence[Skill], rng: random.Random) -> Exchange:
    """Draw one of the follow-ups."""
    kinds: tuple[Callable[[str, Sequence[Skill], random.Random], Exchange], ...]
    kinds = (again, recall, go_on, next_country)
    return rng.choices(kinds, (2, 2, 4, 2))[0](language, pool, rng)


def pace(language: str, pool: Sequence[Skill], rng: random.Random) -> Exchange:
    """Draw a wish for another rate: the answer before, in the same words, faster or slower."""
    first = ask_first(pool, rng)
    factor = rng.choice((SLOW, FAST))
    question = rng.choice(PACES[language][factor])
    kept = is_kept("pace", f"{question}|{first.question}")
    return Exchange(
        "pace", question, first.answer, kept, language, factor, first.skill, before=(first,)
    )


def conversation_skills(pool: Sequence[Skill]) -> tuple[Skill, ...]:
    """Make the skills that follow others of the same language."""
    return tuple(
        Skill(name, language, partial(draw, language, others), weight * share, "", asked=False)
        for language, share in (("en", 1.0), ("zh", 0.6))
        for others in [[skill for skill in pool if skill.language == language]]
        for name, draw, weight in (("followup", followup, 0.14), ("pace", pace, 0.06))
    )
