"""Judging: questions come from the reserved side, the recogniser hears, the figures add up."""

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest

from antiphon.evaluation import questions, report, suite
from antiphon.evaluation.judge import Judge
from antiphon.training import grammar
from antiphon.training.grammar import SKILLS
from antiphon.training.synthesis import say
from antiphon.training.voices import ANSWER_VOICE, RESERVED_VOICES


def record(**changes):
    plain = report.AnswerRecord(
        group="reserved", voice="flite:rms", skill="count", question="count", expected="One.",
        answer="One.", is_right=True, recognised="count", n_errors=0, n_characters=5,
        understood="one", is_understood=True, is_reference_understood=True, first_audio_s=0.4,
        rtf=0.5, audio_s=1.0,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def test_questions_are_reserved_and_spread_evenly():
    drawn = list(questions.draw_questions("reserved", 84, seed=1))
    assert [q.exchange.skill for q in drawn].count("count") == 84 // len(SKILLS)
    assert {q.voice for q in drawn} == set(RESERVED_VOICES)
    open_skills = {"arithmetic", "repeat", "count"}
    assert all(q.exchange.is_reserved for q in drawn if q.exchange.skill in open_skills)
    assert len({(q.exchange.question, q.voice) for q in drawn}) == 84
    assert drawn == list(questions.draw_questions("reserved", 84, seed=1))


def test_training_voices_are_not_the_reserved_ones():
    assert not set(questions.voices_of("training")) & set(questions.voices_of("reserved"))


@pytest.fixture(scope="module")
def judge():
    return Judge()


@pytest.mark.parametrize("skill", SKILLS)
def test_the_judge_understands_the_synthesiser(judge, skill):
    rng = random.Random(skill)
    heard = 0
    for _ in range(3):
        answer = grammar.draw(rng, skill).answer
        speech = say(answer, ANSWER_VOICE)
        heard += judge.transcribe(speech, 16_000, skill) == grammar.normalise(answer)
    assert heard >= 2


def test_the_judge_does_not_hear_words_in_noise(judge):
    noise = 0.01 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert (
        judge.transcribe(noise, 22_050, "arithmetic")
        != "forty seven plus thirty eight is eighty five"
    )


def test_the_judge_hears_which_numbers_were_counted(judge):
    right = "From twelve to fifteen: twelve, thirteen, fourteen, fifteen."
    speech = say(right, ANSWER_VOICE)
    assert judge.transcribe(speech, 16_000, "count") == grammar.normalise(right)
    wrong = "From twelve to seventeen: twelve, thirteen, sixteen, seventeen."
    gap = say(wrong, ANSWER_VOICE)
    assert judge.transcribe(gap, 16_000, "count") != grammar.normalise(wrong)


def test_figures_add_up():
    records = [
        record(),
        record(is_right=False, n_errors=5, is_understood=False, first_audio_s=None, rtf=None),
        record(is_understood=None, is_reference_understood=None, understood=None),
    ]
    figures = report.summarise(records)
    assert figures["right_text_answers"] == pytest.approx(2 / 3, abs=1e-4)
    assert figures["character_error_rate"] == pytest.approx(5 / 15, abs=1e-4)
    assert figures["answers_judged"] == 2
    assert figures["understood_relative"] == 0.5
    assert figures["rtf_mean"] == 0.5
    assert "| 66.7 % |" in report.markdown_row("all", figures)


def test_no_records_give_no_figures_but_no_crash():
    assert report.summarise([])["right_text_answers"] is None


def test_a_folder_in_place_of_the_report_is_refused_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        suite.main(["embedded", "--out", str(tmp_path)])
    told = "".join(capsys.readouterr().err.split())
    assert f"isafolder;nameafileinit,suchas{tmp_path / 'embedded.json'}" in told
