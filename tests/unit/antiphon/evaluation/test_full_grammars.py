"""Grammars of the full domain in Mandarin: every answer is expected, what is no answer is not."""

import random

import pytest

from antiphon.evaluation.full_grammars import full_grammars, grammar_name
from antiphon.evaluation.judge import Judge
from antiphon.evaluation.mandarin_phones import PREFIX, spoken_words
from antiphon.training.domain.table import FullDomain

MANDARIN = {skill.name: skill for skill in FullDomain().table if skill.language == "zh"}
JUDGED = [name for name, skill in MANDARIN.items() if skill.answers]


@pytest.fixture(scope="module")
def judge():
    return Judge({name: text for name, text in full_grammars().items() if name.endswith("-zh")})


def accepts(judge, skill, text):
    """Tell whether the recogniser may hear a text as an answer of a skill."""
    words = spoken_words(text).split()
    n_english = 1 if skill == "translate" else 0
    chinese, english = words[: len(words) - n_english], words[len(words) - n_english :]
    spelled = " ".join([*(PREFIX + word for word in chinese), *english])
    return judge.decoder.get_fsg(grammar_name(skill, "zh")).accept(spelled)


def test_skills_that_the_judge_understands_are_judged():
    understood = "neighbours capitals colours sounds translate greeting recite refusal"
    assert set(JUDGED) == set(understood.split())
    assert {grammar_name(skill, "zh") for skill in JUDGED} <= set(full_grammars())


@pytest.mark.parametrize("skill", JUDGED)
def test_every_answer_is_expected(judge, skill):
    rng = random.Random(skill)
    answers = {MANDARIN[skill].draw(rng).answer for _ in range(300)}
    assert [answer for answer in answers if not accepts(judge, skill, answer)] == []


@pytest.mark.parametrize(
    ("skill", "text"),
    [
        ("neighbours", "三后面是"),
        ("neighbours", "零三后面是四。"),
        ("neighbours", "三后面是四四。"),
        ("neighbours", "三上面是四。"),
        ("capitals", "法国的首都是德国。"),
        ("colours", "草是绿色。"),
        ("sounds", "小猫叫喵喵。"),
        ("translate", "苹果的英语是 sky sky。"),
        ("greeting", "你好，早上好。"),
        ("refusal", "对不起，我没听懂。"),
    ],
)
def test_what_is_no_answer_is_not_expected(judge, skill, text):
    assert not accepts(judge, skill, text)
