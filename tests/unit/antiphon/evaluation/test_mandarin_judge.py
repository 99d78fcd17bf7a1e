"""The judge hears Mandarin: the synthesiser's own answers, and what of them is wrong."""

import random

import pytest

from antiphon.evaluation.full_grammars import full_grammars
from antiphon.evaluation.full_suite import reference_voice
from antiphon.evaluation.judge import Judge
from antiphon.evaluation.mandarin_phones import spoken_words
from antiphon.training.domain.table import FullDomain


@pytest.fixture(scope="module")
def judge():
    names = ("neighbours-zh", "capitals-zh", "colours-zh", "sounds-zh", "greeting-zh")
    return Judge({name: text for name, text in full_grammars().items() if name in names})


def hear(judge, text, grammar):
    return judge.transcribe(reference_voice(text, "zh", 1.0), 16_000, grammar)


@pytest.mark.parametrize("skill", ["neighbours", "capitals", "colours", "sounds", "greeting"])
def test_the_judge_understands_the_synthesiser(judge, skill):
    rng = random.Random(skill)
    answers = [FullDomain().draw(rng, skill, language="zh").answer for _ in range(5)]
    heard = [hear(judge, answer, f"{skill}-zh") == spoken_words(answer) for answer in answers]
    assert sum(heard) >= 3


@pytest.mark.parametrize(
    ("grammar", "right", "wrong"),
    [
        ("neighbours-zh", "三十五后面是三十六。", "三十五后面是三十七。"),
        ("capitals-zh", "法国的首都是巴黎。", "法国的首都是伦敦。"),
    ],
)
def test_the_judge_does_not_hear_the_right_answer_in_a_wrong_one(judge, grammar, right, wrong):
    assert hear(judge, wrong, grammar) != spoken_words(right)
