"""The domains: answers are right by other means, a fifth is kept, the small one draws as before."""

import hashlib
import json
import random
import re

import pytest

from antiphon.errors import ConfigError
from antiphon.evaluation.questions import draw_questions
from antiphon.training import grammar
from antiphon.training.domain.conversation import FAST, PACES, SLOW
from antiphon.training.domain.english_words import WORDS
from antiphon.training.domain.facts_lexicon import CAPITALS, TRANSLATIONS
from antiphon.training.domain.mandarin_words import MANDARIN_WORDS
from antiphon.training.domain.numbers import SIGNS, chinese_number
from antiphon.training.domain.table import FullDomain, find_domain
from antiphon.training.domain.talk_lexicon import RECITALS, REFUSALS, TALK
from antiphon.training.domain.words import as_written
from antiphon.training.pronunciation import pronouncing_dictionary

FULL = FullDomain()
ENGLISH = {grammar.number_words(n): n for n in range(100)}
CHINESE = {chinese_number(n): n for n in range(100)}
KEYS = [skill.key for skill in FULL.table]
OLDER_SPLIT = {"repeat-en", "repeat-zh"}  # one phrase in seven


def draws(key, n=300, reserved=False):
    name, _, language = key.partition("-")
    rng = random.Random(key)
    return [FULL.draw(rng, name, reserved, language) for _ in range(n)]


@pytest.mark.parametrize("key", KEYS)
def test_one_in_five_combinations_is_kept_for_testing(key):
    skill = next(skill for skill in FULL.table if skill.key == key)
    rng = random.Random(1)
    share = sum(skill.draw(rng).is_reserved for _ in range(1500)) / 1500
    assert 0.1 < share < (0.2 if key in OLDER_SPLIT else 0.3)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("reserved", [False, True])
def test_draws_keep_to_their_side_and_language(key, reserved):
    for exchange in draws(key, 200, reserved):
        assert exchange.is_reserved is reserved
        assert exchange.skill == key.partition("-")[0]
        assert exchange.language == key.partition("-")[2]
        assert re.search(r"[\u4e00-\u9fff]", exchange.answer) or exchange.language == "en"
        assert not any(turn.is_reserved for turn in exchange.before)
        assert len(exchange.before) == (exchange.skill in {"followup", "pace"})


def test_false_counts_have_free_ends_and_are_seldom_counts():
    """Both languages; no two ends that are kept for testing, whatever stands between them."""
    rng, n_real, languages = random.Random(2), 0, set()
    for _ in range(500):
        exchange = FULL.false_count(rng)
        languages.add(exchange.language)
        parts = re.fullmatch(
            r"(?:from |从)(.+?)(?: to |到)(.+?)[:：] ?(.+)[.。]", exchange.answer.lower()
        )
        values = ENGLISH if exchange.language == "en" else CHINESE
        first, last = values[parts[1]], values[parts[2]]
        numbers = [values[word] for word in re.split(r", |，", parts[3])]
        assert not grammar.is_reserved_count(min(first, last), max(first, last))
        assert (exchange.skill, exchange.question) == ("recital", "")
        assert 3 <= len(numbers) < 13
        step = 1 if last > first else -1
        n_real += numbers == list(range(first, last + step, step))
    assert languages == {"en", "zh"}
    assert n_real < 10


@pytest.mark.parametrize("key", KEYS)
def test_answers_that_begin_with_a_word_of_the_question_are_written_as_within(key):
    for exchange in draws(key):
        written = as_written(exchange.answer)
        assert grammar.normalise(written) == grammar.normalise(exchange.answer)
        if key in {"repeat-en", "spell-en"}:
            assert written.startswith(" ") and written.strip()[0].islower()
        elif exchange.skill not in {"followup", "pace"}:  # these may repeat such an answer
            assert written == exchange.answer


@pytest.mark.parametrize("reserved", [False, True])
@pytest.mark.parametrize(
    ("key", "words", "equals"),
    [("arithmetic-en", ENGLISH, " is "), ("arithmetic-zh", CHINESE, "等于")],
)
def test_arithmetic_is_right(key, words, equals, reserved):
    for exchange in draws(key, reserved=reserved):
        left, result = exchange.answer.rstrip(".。").lower().split(equals)
        signs = SIGNS[exchange.language]
        sign = next(sign for sign in signs if sign in left)
        first, second = (words[side.strip()] for side in left.split(sign))
        results = (first + second, first - second, first * second)
        assert words[result] == results[signs.index(sign)]
        assert ((31 * first + 7 * second) % 5 == 2) is reserved


@pytest.mark.parametrize(
    ("key", "words", "to", "colon", "comma"),
    [("count-en", ENGLISH, " to ", ": ", ", "), ("count-zh", CHINESE, "到", "：", "，")],
)
def test_counts_go_up_or_down_by_one(key, words, to, colon, comma):
    directions = set()
    for exchange in draws(key):
        ends, counted = exchange.answer.rstrip(".。").lower().split(colon)
        numbers = [words[word] for word in counted.split(comma)]
        first, last = ends.removeprefix("from ").removeprefix("从").split(to)
        assert (words[first], words[last]) == (numbers[0], numbers[-1])
        step = numbers[1] - numbers[0]
        assert numbers == list(range(numbers[0], numbers[-1] + step, step))
        directions.add(step)
    assert directions == {1, -1}


def test_chinese_numbers():
    written = [chinese_number(n) for n in (0, 10, 11, 20, 47)]
    assert written == ["零", "十", "十一", "二十", "四十七"]
    with pytest.raises(ValueError, match="100"):
        chinese_number(100)


def test_a_further_sum_starts_from_the_result_before():
    further = [
        e
        for e in draws("followup-en", 400)
        if re.match(r"(and|now) .*(plus|minus|times)", e.question)
    ]
    assert len(further) > 50
    for exchange in further:
        before = exchange.before[0].answer.rstrip(".").split(" is ")[-1]
        assert exchange.answer.lower().startswith(before + " ")


@pytest.mark.parametrize("key", ["pace-en", "pace-zh"])
def test_pace_repeats_the_words_at_another_rate(key):
    for exchange in draws(key):
        assert exchange.answer == exchange.before[0].answer
        assert exchange.question in PACES[exchange.language][exchange.pace]
    assert FAST < 0.8 < 1.2 < SLOW


def test_what_nobody_can_answer_is_refused():
    kinds = set()
    for exchange in draws("refusal-en") + draws("refusal-zh"):
        assert exchange.answer == REFUSALS[exchange.language]
        kinds.add(exchange.sound.partition(":")[0])
    assert kinds == {"", "noise", "espeak-ng"}


@pytest.mark.parametrize(("name", "table"), [("greeting", TALK), ("recite", RECITALS)])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_fixed_answer_can_be_learned(name, table, language):
    learned = {exchange.answer for exchange in draws(f"{name}-{language}", 800)}
    assert learned == {answer for _, answer in table[language]}


def test_the_domain_is_as_large_as_promised():
    assert len(set(WORDS)) >= 1500
    assert len(CAPITALS) == len({country for country, _ in CAPITALS}) == 60
    assert len({chinese for _, chinese in TRANSLATIONS}) == len(dict(TRANSLATIONS)) >= 100
    assert len(MANDARIN_WORDS) > 250


def test_no_two_words_to_repeat_sound_alike():
    from pypinyin import Style, lazy_pinyin

    phones = pronouncing_dictionary()
    english = [phones[word] for word in WORDS]
    assert len(set(english)) == len(english)
    mandarin = [" ".join(lazy_pinyin(word, style=Style.TONE3)) for word in MANDARIN_WORDS]
    assert len(set(mandarin)) == len(mandarin)


def test_readings_are_longer_than_any_phrase_to_repeat():
    rng = random.Random(1)
    for _ in range(300):
        reading = FULL.reading(rng)
        assert len(re.split(r"[ ，]", reading.question)) > 8


def test_every_english_word_has_a_pronunciation():
    rng, known = random.Random(5), pronouncing_dictionary()
    for _ in range(4000):
        exchange = FULL.draw(rng, language="en")
        said = exchange.answer if exchange.sound else f"{exchange.question} {exchange.answer}"
        for word in re.findall(r"[a-z0-9']+", said.lower()):
            assert word in known, exchange


def test_the_small_domain_asks_what_it_always_asked():
    asked = [
        [q.voice, q.exchange.skill, q.exchange.question, q.exchange.answer]
        for group, n in (("reserved", 200), ("training", 105))
        for q in draw_questions(group, n, 11)
    ]
    assert asked[1][2] == "tell me forty seven minus ten"
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    assert digest == "c8a23a11b88c4ddd8d3bbca7d2e6bf5e4459068529103bef186093cba66e4b5b"


def test_the_small_domain_draws_like_its_grammar():
    small = find_domain("small")
    for skill in (None, *small.skills):
        assert small.draw(random.Random(3), skill) == grammar.draw(random.Random(3), skill)
    assert small.reading(random.Random(3)).question == grammar.reading(random.Random(3))
    assert small.recital(random.Random(3)).answer == grammar.recital(random.Random(3))


def test_an_unknown_domain_or_skill_is_refused():
    with pytest.raises(ConfigError, match="small and full"):
        find_domain("huge")
    with pytest.raises(ConfigError, match="spell-en"):
        FULL.draw(random.Random(0), "spell", language="zh")
