"""The table of Mandarin syllables: it covers the domain, and what it writes are phones."""

import random

import pytest

from antiphon.errors import ConfigError
from antiphon.evaluation.full_grammars import full_grammars
from antiphon.evaluation.mandarin_phones import (
    SYLLABLE,
    pronunciations,
    spell_grammar,
    spoken_words,
)
from antiphon.training.domain.mandarin_words import MANDARIN_WORDS
from antiphon.training.domain.pinyin import CHINESE
from antiphon.training.domain.table import FullDomain
from antiphon.training.pronunciation import PHONES


def test_every_syllable_of_the_domains_answers_can_be_said():
    domain, rng = FullDomain(), random.Random(3)
    answers = [domain.draw(rng, language="zh").answer for _ in range(1500)]
    spelled = " ".join(map(spell_grammar, [*full_grammars().values(), *answers, *MANDARIN_WORDS]))
    assert not CHINESE.search(spelled)
    syllables = set(SYLLABLE.findall(spelled))
    assert len(syllables) > 150
    for syllable in syllables:
        ways = pronunciations(syllable)
        assert len(set(ways)) == len(ways) > 0
        assert set(" ".join(ways).split()) <= set(PHONES)


@pytest.mark.parametrize("syllable", ["", "zz", "apple", "zhi1"])
def test_what_is_no_syllable_is_refused(syllable):
    with pytest.raises(ConfigError, match="no Mandarin syllable"):
        pronunciations(syllable)


def test_texts_are_compared_without_tones_and_signs():
    assert spoken_words("买，卖。") == "mai mai"
    assert spoken_words("苹果的英语是 Apple。") == "ping guo de ying yu shi apple"
    assert spoken_words("In Chinese, egg is 鸡蛋.") == "in chinese egg is ji dan"
    assert spoken_words("From one to 3, it's x1.") == "from one to 3 it's x1"


def test_only_the_characters_of_a_grammar_are_spelled():
    assert spell_grammar("<a> = 法国 | egg [<up1>];") == "<a> = zh_fa zh_guo | egg [<up1>];"
