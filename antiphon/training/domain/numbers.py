"""Arithmetic, counting, and what comes before or after a number or letter, in both languages."""

import random
import string
from collections.abc import Sequence
from functools import partial

from antiphon.training.domain.mandarin_lexicon import DIGITS
from antiphon.training.domain.skill import Skill, fact
from antiphon.training.grammar import (
    MAX_COUNT_START,
    MAX_COUNT_STEPS,
    MAX_NUMBER,
    Exchange,
    is_reserved_count,
    is_reserved_pair,
    number_words,
    sentence,
)

MAX_TIMES = 12
FALSE_COUNTS = (3, 9)  # numbers in one, and up to a stretch more
LONGEST_STRETCH = 4
SIGNS = {"en": ("plus", "minus", "times"), "zh": ("加", "减", "乘")}
ASKED = {
    "en": (
        "what is {}",
        "what is {}",
        "how much is {}",
        "{}",
        "tell me {}",
        "calculate {}",
        "please tell me {}",
        "do you know what {} is",
        "can you tell me what {} is",
    ),
    "zh": (
        "{}等于几",
        "{}等于多少",
        "{}是多少",
        "请算一下{}",
        "请问{}等于几",
        "告诉我{}等于几",
        "你知道{}等于多少吗",
        "{}得多少",
    ),
}
COUNTED = {
    "en": (
        "count from {} to {}",
        "please count from {} to {}",
        "can you count from {} to {}",
        "count for me from {} to {}",
        "I want you to count from {} to {}",
    ),
    "zh": ("从{}数到{}", "请从{}数到{}", "你能从{}数到{}吗", "帮我从{}数到{}", "请你从{}数到{}"),
}
COUNTED_DOWN = {
    "en": (
        "count down from {} to {}",
        "please count down from {} to {}",
        "can you count down from {} to {}",
        "count backwards from {} to {}",
    ),
    "zh": ("从{}倒数到{}", "请从{}倒数到{}", "你能从{}倒数到{}吗", "帮我从{}倒数到{}"),
}


def chinese_number(number: int) -> str:
    """Write 0..99 in Chinese: 47 -> "四十七"."""
    if not 0 <= number <= MAX_NUMBER:
        raise ValueError(f"chinese_number takes 0..{MAX_NUMBER}, got {number}")
    tens, unit = divmod(number, 10)
    if not tens:
        return DIGITS[unit]
    return (DIGITS[tens] if tens > 1 else "") + "十" + (DIGITS[unit] if unit else "")


def say_number(number: int, language: str) -> str:
    """Write a number in words."""
    return number_words(number) if language == "en" else chinese_number(number)


def calculate(first: int, sign: int, second: int) -> int:
    """Apply the sign of that place in `SIGNS`."""
    return (first + second, first - second, first * second)[sign]


def draw_operands(sign: int, rng: random.Random) -> tuple[int, int]:
    """Draw two numbers whose result lies in 0..99."""
    if sign == 2:
        first = rng.randint(0, MAX_TIMES)
        return first, rng.randint(0, min(MAX_TIMES, MAX_NUMBER // max(first, 1)))
    low, high = sorted((rng.randint(0, MAX_NUMBER), rng.randint(0, MAX_NUMBER)))
    return (high, low) if sign == 1 else (low, rng.randint(0, MAX_NUMBER - low))


def arithmetic_exchange(
    first: int, sign: int, second: int, language: str, wording: str
) -> Exchange:
    """Build the exchange for one pair of operands; `wording` is one of `ASKED`."""
    left, right = say_number(first, language), say_number(second, language)
    result = say_number(calculate(first, sign, second), language)
    if language == "en":
        words = f"{left} {SIGNS['en'][sign]} {right}"
        answer = sentence(f"{words} is {result}")
    else:
        words = f"{left}{SIGNS['zh'][sign]}{right}"
        answer = f"{words}等于{result}。"
    kept = is_reserved_pair(first, second)
    return Exchange("arithmetic", wording.format(words), answer, kept, language)


def arithmetic(language: str, rng: random.Random) -> Exchange:
    """Draw a sum, difference or product within 0..99."""
    sign = rng.choices((0, 1, 2), (4, 4, 2))[0]
    first, second = draw_operands(sign, rng)
    return arithmetic_exchange(first, sign, second, language, rng.choice(ASKED[language]))


def count(language: str, rng: random.Random, max_start: int = MAX_COUNT_START) -> Exchange:
    """Draw two numbers to count between, up or down."""
    low = rng.randint(0, max_start)
    high = low + rng.randint(2, MAX_COUNT_STEPS)
    is_down = rng.random() < 0.3
    numbers = list(range(low, high + 1))
    if is_down:
        numbers.reverse()
    first, last = numbers[0], numbers[-1]
    wording = rng.choice((COUNTED_DOWN if is_down else COUNTED)[language])
    asked = wording.format(say_number(first, language), say_number(last, language))
    answer = counted(language, first, last, numbers)
    return Exchange("count", asked, answer, is_reserved_count(low, high), language)


def false_count(language: str, rng: random.Random) -> Exchange:
    """Draw what begins as a count does and goes on otherwise: practice in saying what is written.

    Stretches of a count, up or down, follow each other at random, so that no number tells the next
    one or the last; the two ends are free for training. As answers are not asked for: a recital.
    """
    highest = MAX_COUNT_START + MAX_COUNT_STEPS
    while True:
        first, last = rng.randint(0, highest), rng.randint(0, highest)
        if first != last and not is_reserved_count(min(first, last), max(first, last)):
            break
    numbers = [first] if rng.random() < 0.5 else []
    n_wanted = rng.randint(*FALSE_COUNTS)
    while len(numbers) < n_wanted:
        start, step = rng.randint(0, highest), rng.choice((-1, 1))
        stretch = range(start, start + step * rng.randint(1, LONGEST_STRETCH), step)
        numbers += [number for number in stretch if 0 <= number <= highest]
    return Exchange("recital", "", counted(language, first, last, numbers), language=language)


def counted(language: str, first: int, last: int, numbers: Sequence[int]) -> str:
    """Write the answer to a wish to count: its two ends, and numbers."""
    ends = say_number(first, language), say_number(last, language)
    said = [say_number(number, language) for number in numbers]
    if language == "en":
        return sentence(f"from {ends[0]} to {ends[1]}: {', '.join(said)}")
    return f"从{ends[0]}到{ends[1]}：{'，'.join(said)}。"


def neighbours(language: str, rng: random.Random) -> Exchange:
    """Draw a question for the number or, in English, the letter before or after another."""
    is_after = rng.random() < 0.5
    step = 1 if is_after else -1
    if language == "en" and rng.random() < 0.5:
        return next_letter(is_after, rng)
    number = rng.randint(1, MAX_NUMBER - 1)
    item, other = say_number(number, language), say_number(number + step, language)
    if language == "zh":
        relation = "后面" if is_after else "前面"
        wordings: tuple[str, ...] = (
            f"{{}}{relation}是几",
            f"{{}}的{relation}是几",
            f"数字{{}}{relation}是什么",
            f"请问{{}}{relation}是几",
            f"告诉我{{}}{relation}是几",
        )
        return fact("neighbours", "zh", rng, wordings, item, f"{item}{relation}是{other}。")
    relation = "after" if is_after else "before"
    answer = sentence(f"{relation} {item} comes {other}")
    wordings = (
        f"what comes {relation} {{}}",
        f"which number comes {relation} {{}}",
        f"which number is {relation} {{}}",
        f"what number comes {relation} {{}}",
        f"tell me the number {relation} {{}}",
        f"what is the number {relation} {{}}",
    )
    return fact("neighbours", "en", rng, wordings, item, answer)


def next_letter(is_after: bool, rng: random.Random) -> Exchange:
    """Draw a question for the letter before or after another."""
    place = rng.randint(0, 24) if is_after else rng.randint(1, 25)
    item = string.ascii_uppercase[place]
    other = string.ascii_uppercase[place + (1 if is_after else -1)]
    relation = "after" if is_after else "before"
    wordings = (
        f"which letter comes {relation} {{}}",
        f"what letter is {relation} {{}}",
        f"what letter comes {relation} {{}}",
        f"tell me the letter {relation} {{}}",
        f"what is the letter {relation} {{}}",
    )
    answer = f"The letter {relation} {item} is {other}."
    return fact("neighbours", "en", rng, wordings, item, answer)


# Mandarin sums and counts are left out: the judge understands too few of the synthesiser's own.
JUDGED = {
    "arithmetic-en": "<number> (plus | minus | times) <number> is <number>",
    "count-en": "from <number> to <number> <counting>",
    "neighbours-en": "(after | before) <number> comes <number> "
    "| the letter (after | before) <letter> is <letter>",
    "neighbours-zh": "<number> (后面 | 前面) 是 <number>",
}

SKILLS: tuple[Skill, ...] = tuple(
    Skill(name, language, partial(draw, language), weight, JUDGED.get(f"{name}-{language}", ""))
    for language, share in (("en", 1.0), ("zh", 0.6))
    for name, draw, weight in (
        ("arithmetic", arithmetic, 0.22 * share),
        ("count", count, 0.08 * share),
        ("neighbours", neighbours, 0.07 * share),
    )
)
