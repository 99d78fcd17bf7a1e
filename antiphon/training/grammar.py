"""The small domain: a grammar that yields questions with their only right answer.

Knows nothing of audio or models. What is reserved for testing is decided here and, for the skills
that the full domain adds, in the package domain.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from antiphon.training import lexicon

SKILLS = ("greeting", "arithmetic", "calendar", "opposites", "capitals", "repeat", "count")
MAX_NUMBER = 99
MAX_COUNT_START = 20
MAX_COUNT_STEPS = 10
MAX_REPEAT_WORDS = 5
READING_WORDS = (6, 8)  # more than a phrase to repeat has, so that none is read as a whole
MAX_RECITED_START = 80
LIST_WORDS = (2, 9)
LISTED_NUMBERS = 0.7


@dataclass(frozen=True)
class Exchange:
    """One question and its answer.

    Attributes:
        skill: One of `SKILLS`, or of the full domain's (see the package domain).
        question: What the person says, plain lower-case words (names keep their capital).
        answer: The reply as shown, with capital and full stop.
        is_reserved: True when the combination is kept for testing and never trained on.
        language: "en" or "zh": both of the question and of the answer.
        pace: Duration of the answer, as a factor on the usual one.
        form: Name of the skill whose answers look like this one; empty for the skill itself.
        sound: What is heard instead of the question's words in a voice of ours (see noises.py);
            empty for an ordinary question.
        before: What was said before in the same conversation, oldest first.
    """

    skill: str
    question: str
    answer: str
    is_reserved: bool = False
    language: str = "en"
    pace: float = 1.0
    form: str = ""
    sound: str = ""
    before: "tuple[Exchange, ...]" = ()


def number_words(number: int) -> str:
    """Spell 0..99 in words: 47 -> "forty seven"."""
    if not 0 <= number <= MAX_NUMBER:
        raise ValueError(f"number_words takes 0..{MAX_NUMBER}, got {number}")
    if number < len(lexicon.UNITS):
        return lexicon.UNITS[number]
    tens, unit = divmod(number, 10)
    return lexicon.TENS[tens - 2] + (f" {lexicon.UNITS[unit]}" if unit else "")


def sentence(words: str) -> str:
    """Give words a capital and a full stop (unless they end in punctuation)."""
    return words[0].upper() + words[1:] + ("" if words[-1] in ".?!" else ".")


def normalise(text: str) -> str:
    """Reduce an answer to lower-case words, as right and wrong are judged.

    A Chinese character counts as a word.
    """
    return " ".join(re.findall(r"[a-z0-9']+|[\u4e00-\u9fff]", text.lower()))


def is_reserved_pair(first: int, second: int) -> bool:
    """Tell whether an arithmetic pair is kept for testing."""
    return (31 * first + 7 * second) % 5 == 2


def is_reserved_phrase(phrase: str) -> bool:
    """Tell whether a phrase to repeat is kept for testing."""
    return sum(map(ord, phrase)) % 7 == 0


def is_reserved_count(start: int, end: int) -> bool:
    """Tell whether a pair to count between is kept for testing."""
    return (start + 2 * end) % 5 == 1


def greeting(rng: random.Random) -> Exchange:
    """Draw a greeting or a question about the assistant."""
    question, answer = rng.choice(lexicon.GREETINGS)
    return Exchange("greeting", question, answer)


def arithmetic(rng: random.Random) -> Exchange:
    """Draw a sum or difference whose operands and result lie in 0..99."""
    is_sum = rng.random() < 0.5
    low, high = sorted((rng.randint(0, MAX_NUMBER), rng.randint(0, MAX_NUMBER)))
    if is_sum:
        first = rng.randint(0, MAX_NUMBER)
        second = rng.randint(0, MAX_NUMBER - first)
    else:
        first, second = high, low
    return arithmetic_exchange(first, second, is_sum, rng)


def arithmetic_exchange(first: int, second: int, is_sum: bool, rng: random.Random) -> Exchange:
    """Build the exchange for one pair of operands."""
    result = first + second if is_sum else first - second
    words = f"{number_words(first)} {'plus' if is_sum else 'minus'} {number_words(second)}"
    template = rng.choice(("what is {}", "what is {}", "how much is {}", "{}", "tell me {}"))
    return Exchange(
        "arithmetic",
        template.format(words),
        sentence(f"{words} is {number_words(result)}"),
        is_reserved_pair(first, second),
    )


def calendar(rng: random.Random) -> Exchange:
    """Draw a question on what comes before or after a day or month."""
    noun, names = rng.choice((("day", lexicon.DAYS), ("month", lexicon.MONTHS)))
    index, relation = rng.randrange(len(names)), rng.choice(("after", "before"))
    other = names[(index + (1 if relation == "after" else -1)) % len(names)]
    template = rng.choice(("what {0} comes {1} {2}", "which {0} is {1} {2}", "what comes {1} {2}"))
    question = template.format(noun, relation, names[index])
    return Exchange("calendar", question, sentence(f"{relation} {names[index]} comes {other}"))


def opposites(rng: random.Random) -> Exchange:
    """Draw a question for the opposite of a word."""
    pair = rng.choice(lexicon.OPPOSITES)
    word, other = pair if rng.random() < 0.5 else pair[::-1]
    template = rng.choice(
        ("what is the opposite of {}", "tell me the opposite of {}", "the opposite of {}")
    )
    return Exchange(
        "opposites", template.format(word), sentence(f"the opposite of {word} is {other}")
    )


def capitals(rng: random.Random) -> Exchange:
    """Draw a question for the capital of a country."""
    country, capital = rng.choice(lexicon.CAPITALS)
    template = rng.choice(
        ("what is the capital of {}", "tell me the capital of {}", "the capital of {}")
    )
    return Exchange(
        "capitals", template.format(country), sentence(f"the capital of {country} is {capital}")
    )


def repeat(rng: random.Random) -> Exchange:
    """Draw a phrase to say again."""
    n_words = rng.randint(1, MAX_REPEAT_WORDS)
    phrase = " ".join(rng.choice(lexicon.REPEAT_WORDS) for _ in range(n_words))
    template = rng.choice(
        ("repeat after me, {}", "repeat after me, {}", "please repeat, {}", "say, {}")
    )
    return Exchange("repeat", template.format(phrase), sentence(phrase), is_reserved_phrase(phrase))


def count(rng: random.Random, max_start: int = MAX_COUNT_START) -> Exchange:
    """Draw two numbers to count between, the first at most `max_start`."""
    start = rng.randint(0, max_start)
    end = start + rng.randint(2, MAX_COUNT_STEPS)
    template = rng.choice(
        ("count from {} to {}", "count from {} to {}", "please count from {} to {}")
    )
    numbers = [number_words(n) for n in range(start, end + 1)]
    first, last = numbers[0], numbers[-1]
    return Exchange(
        "count",
        template.format(first, last),
        sentence(f"from {first} to {last}: {', '.join(numbers)}"),
        is_reserved_count(start, end),
    )


def reading(rng: random.Random) -> str:
    """Draw words of the domain to be read aloud: practice in hearing, no question."""
    n_words = rng.randint(*READING_WORDS)
    return " ".join(rng.choice(rng.choice(READING_LISTS)) for _ in range(n_words))


def free_count(rng: random.Random, max_start: int) -> Exchange:
    """Draw a count that is free for training, from a wider range than is ever asked aloud."""
    while True:
        exchange = count(rng, max_start)
        if not exchange.is_reserved:
            return exchange


def recital(rng: random.Random) -> str:
    """Draw a text that the assistant says without being asked: practice in speaking alone."""
    return rng.choices(list(RECITALS), list(RECITALS.values()))[0](rng)


def false_count(rng: random.Random) -> str:
    """Draw a text in the form of a count that is none: practice in saying what is written.

    At most one of its two ends is a number, so no pair is practised that is kept for testing.
    """
    ends = [rng.choice(lexicon.REPEAT_WORDS), number_or_word(rng)]
    rng.shuffle(ends)
    items = [number_or_word(rng) for _ in range(rng.randint(*LIST_WORDS))]
    return sentence(f"from {ends[0]} to {ends[1]}: {', '.join(items)}")


def false_sum(rng: random.Random) -> str:
    """Draw a text in the form of a sum that is none: one of what is added is no number."""
    terms = [rng.choice(lexicon.REPEAT_WORDS), number_words(rng.randint(0, MAX_NUMBER))]
    rng.shuffle(terms)
    result = number_words(rng.randint(0, MAX_NUMBER))
    return sentence(f"{terms[0]} {rng.choice(('plus', 'minus'))} {terms[1]} is {result}")


def number_or_word(rng: random.Random) -> str:
    """Draw a number, half of the time one that is counted to, or now and then a word to repeat."""
    if rng.random() > LISTED_NUMBERS:
        return rng.choice(lexicon.REPEAT_WORDS)
    highest = rng.choice((MAX_COUNT_START + MAX_COUNT_STEPS, MAX_NUMBER))
    return number_words(rng.randint(0, highest))


RECITALS: dict[Callable[[random.Random], str], float] = {
    false_count: 0.25,
    false_sum: 0.15,
    lambda rng: free_count(rng, MAX_RECITED_START).answer: 0.1,
    lambda rng: draw(rng, "arithmetic").answer: 0.15,
    lambda rng: sentence(reading(rng)): 0.35,
}

# A list is drawn, then one of its words; the words to repeat are the hardest to hear.
READING_LISTS: tuple[tuple[str, ...], ...] = (
    *3 * (lexicon.REPEAT_WORDS,),
    tuple(word for pair in lexicon.OPPOSITES for word in pair),
    tuple(name for pair in lexicon.CAPITALS for name in pair),
    (*lexicon.DAYS, *lexicon.MONTHS, *map(number_words, range(MAX_NUMBER + 1))),
)

DRAW: dict[str, Callable[[random.Random], Exchange]] = {
    "greeting": greeting,
    "arithmetic": arithmetic,
    "calendar": calendar,
    "opposites": opposites,
    "capitals": capitals,
    "repeat": repeat,
    "count": count,
}

# Most practice goes where there are most combinations.
TRAINING_WEIGHTS = {
    "greeting": 0.06,
    "arithmetic": 0.32,
    "calendar": 0.08,
    "opposites": 0.09,
    "capitals": 0.09,
    "repeat": 0.22,
    "count": 0.14,
}

# Skills small enough to be known whole: nothing in them is reserved but the voices.
CLOSED_SKILLS = frozenset({"greeting", "calendar", "opposites", "capitals"})


def draw(rng: random.Random, skill: str | None = None, reserved: bool = False) -> Exchange:
    """Draw one exchange.

    Args:
        rng: Source of randomness.
        skill: One of `SKILLS`; None draws one by `TRAINING_WEIGHTS`.
        reserved: True draws only combinations kept for testing (closed skills have none: they
            yield any), False only those free for training.
    """
    name = skill or rng.choices(list(TRAINING_WEIGHTS), list(TRAINING_WEIGHTS.values()))[0]
    while True:
        exchange = DRAW[name](rng)
        if name in CLOSED_SKILLS or exchange.is_reserved == reserved:
            return exchange


def all_texts() -> list[str]:
    """List every word form of the domain as sentences, for building the text vocabulary."""
    rng = random.Random(0)
    texts = [draw(rng) for _ in range(4000)]
    return [text for exchange in texts for text in (exchange.question, exchange.answer)]
