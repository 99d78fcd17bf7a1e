"""The grammar's answers are right by independent arithmetic; nothing reserved is drawn to train."""

import random
import re

import pytest

from antiphon.training import grammar, lexicon, voices

WORDS = {grammar.number_words(n): n for n in range(100)}


def draws(skill, reserved, n=300):
    rng = random.Random(skill)
    return [grammar.draw(rng, skill, reserved) for _ in range(n)]


@pytest.mark.parametrize("reserved", [False, True])
def test_arithmetic_is_right_and_split(reserved):
    for exchange in draws("arithmetic", reserved):
        words = grammar.normalise(exchange.answer)
        left, _, result = words.partition(" is ")
        sign = " plus " if " plus " in left else " minus "
        first, second = (WORDS[side] for side in left.split(sign))
        assert WORDS[result] == (first + second if sign == " plus " else first - second)
        assert 0 <= WORDS[result] <= 99
        assert ((31 * first + 7 * second) % 5 == 2) is reserved
        assert left in exchange.question


@pytest.mark.parametrize("reserved", [False, True])
def test_repeat_phrases_are_split_by_their_character_codes(reserved):
    for exchange in draws("repeat", reserved):
        phrase = exchange.question.split(", ")[1]
        assert grammar.normalise(exchange.answer) == phrase
        assert (sum(ord(c) for c in phrase) % 7 == 0) is reserved


@pytest.mark.parametrize("reserved", [False, True])
def test_counts_go_up_by_one_and_are_split(reserved):
    for exchange in draws("count", reserved):
        asked, _, counted = exchange.answer.rstrip(".").lower().partition(": ")
        numbers = [WORDS[w] for w in counted.split(", ")]
        first, last = asked.removeprefix("from ").split(" to ")
        assert (WORDS[first], WORDS[last]) == (numbers[0], numbers[-1])
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert ((numbers[0] + 2 * numbers[-1]) % 5 == 1) is reserved


def test_readings_are_longer_than_any_phrase_to_repeat():
    rng = random.Random(1)
    for _ in range(200):
        assert len(grammar.reading(rng).split()) > grammar.MAX_REPEAT_WORDS


def test_calendar_wraps_around():
    answers = {exchange.answer for exchange in draws("calendar", False, 2000)}
    assert "After Sunday comes Monday." in answers
    assert "Before January comes December." in answers
    assert len(answers) == 2 * (7 + 12)


def test_opposites_are_unambiguous():
    words = [word for pair in lexicon.OPPOSITES for word in pair]
    assert len(words) == len(set(words))


def test_answers_are_the_same_for_every_way_to_ask():
    answers: dict[str, str] = {}
    for skill in ("capitals", "opposites", "greeting"):
        for exchange in draws(skill, False, 1500):
            assert answers.setdefault(exchange.question, exchange.answer) == exchange.answer


def test_number_words_refuses_what_it_cannot_say():
    assert grammar.number_words(0) == "zero"
    assert grammar.number_words(47) == "forty seven"
    with pytest.raises(ValueError, match="100"):
        grammar.number_words(100)


def test_reserved_voices_are_never_drawn():
    rng = random.Random(1)
    drawn = {voices.draw_speaking(rng).voice for _ in range(20_000)}
    assert not drawn & set(voices.RESERVED_VOICES)
    assert not any(voice.endswith(("+f4", "+m5")) or "rms" in voice for voice in drawn)
    assert set(voices.training_voice_sample()) <= drawn


def test_a_recital_never_says_what_is_reserved():
    rng = random.Random(3)
    n_counts = n_sums = 0
    for text in (grammar.recital(rng) for _ in range(3000)):
        if ends := re.match(r"from ([a-z ]+) to ([a-z ]+): ", text.lower()):
            first, last = (WORDS.get(end) for end in ends.groups())
            is_count = first is not None and last is not None
            n_counts += is_count
            assert not is_count or not grammar.is_reserved_count(first, last)
        elif pair := re.match(r"([a-z ]+) (?:plus|minus) ([a-z ]+) is ", text.lower()):
            first, second = (WORDS.get(number) for number in pair.groups())
            is_sum = first is not None and second is not None
            n_sums += is_sum
            assert not is_sum or not grammar.is_reserved_pair(first, second)
        else:
            assert len(text.split()) > grammar.MAX_REPEAT_WORDS
    assert min(n_counts, n_sums) > 100


def test_a_false_count_has_at_most_one_number_at_its_ends():
    rng = random.Random(4)
    for _ in range(500):
        ends = re.match("from (.*) to (.*): ", grammar.false_count(rng).lower()).groups()
        assert sum(end in WORDS for end in ends) <= 1
