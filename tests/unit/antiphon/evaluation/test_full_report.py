"""The full domain's report: rows, bars and confusions from hand-made records."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from antiphon.evaluation import full_report
from antiphon.evaluation.full_questions import GROUPS, RECORDED_VOICE, draw_full_questions
from antiphon.evaluation.full_suite import FullExaminer, rate_change


def record(**changes):
    plain = full_report.FullRecord(
        group="English, training voices", language="en", voice="flite:slt", skill="count",
        question="count", before=(), expected="One two.", answer="One two.", is_right=True,
        is_refusal=False, is_domain=True, recognised="count", n_errors=1, n_characters=5,
        transcribed="count", n_transcribed_errors=0,
        understood="one two", is_understood=True, is_reference_understood=True, n_read_errors=1,
        n_read_characters=10, n_reference_errors=0, rate_change=None, wanted_change=None,
        first_audio_s=0.4, rtf=0.5, audio_s=1.0,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def rows(records):
    table = full_report.table_rows(records, 0.05, 60.0, RECORDED_VOICE)
    return {row.what: row for row in table}


def test_every_bar_has_its_row_and_empty_ones_are_open():
    table = rows([record()])
    assert len(table) == 21
    assert table["right, English, training voices"].is_reached is True
    assert table["right, Mandarin, reserved voice"].is_reached is None
    assert table["size on disk"].is_reached is True
    assert "| size on disk | 60.00 MB | at most 64.00 MB | yes |" in full_report.markdown_table(
        list(table.values())
    )


def test_refusals_are_counted_on_both_sides():
    outside = {"is_domain": False, "skill": "refusal", "group": "out of domain"}
    table = rows([record(), record(is_refusal=True), record(**outside, is_refusal=True)])
    assert table["refused, out of domain or no speech"].value == 1.0
    assert table["refused, in the domain"].value == 0.5
    assert table["refused, in the domain"].is_reached is False


@pytest.mark.parametrize(
    ("wanted", "came", "expected"),
    [(1.4, 1.3, True), (1.4, 1.1, False), (0.7, 0.8, True), (0.7, 1.3, False), (0.7, None, False)],
)
def test_pace_counts_in_the_direction_asked_for(wanted, came, expected):
    changed = record(wanted_change=wanted, rate_change=came)
    assert full_report.is_pace_changed(changed) is expected
    assert full_report.is_pace_changed(record()) is None


def test_confusions_name_what_was_put_for_what():
    wrong = record(answer="One three.", is_right=False)
    assert full_report.confusions([wrong, wrong, record()]) == [("two", "three", 2)]


def test_replies_are_read_back_beside_the_synthesiser():
    assert full_report.read_back([record(), record(n_read_errors=None)]) == {
        "reply_cer": 0.1,
        "synthesiser_cer": 0.0,
    }
    assert full_report.read_back([])["reply_cer"] is None


def test_replies_are_understood_beside_the_synthesiser_in_each_language():
    mandarin = record(language="zh", is_understood=False)
    table = rows([record(), mandarin, record(language="zh"), record(is_reference_understood=None)])
    named = "reply understood, relative to the synthesiser ({})"
    assert table[named.format("English")].value == 1.0
    assert table[named.format("Mandarin")].value == 0.5
    assert table[named.format("both languages")].value == 0.75
    unheard = rows([record(language="zh", is_reference_understood=False)])
    assert unheard[named.format("Mandarin")].value is None


def test_reading_with_and_without_the_letter_model_is_told_apart():
    read = [record(n_transcribed_errors=2), record(), record(voice="another", n_characters=0)]
    by_voice = full_report.shares_by(read, lambda each: each.voice)
    assert by_voice["flite:slt"]["character_error_rate"] == 0.2
    assert by_voice["flite:slt"]["transcribed_error_rate"] == 0.2
    assert full_report.error_rate(read[1:], "of transcripts") == 0.0
    assert by_voice["another"]["transcribed_error_rate"] is None


def test_a_plot_is_drawn(tmp_path):
    full_report.plot([record(), record(language="zh")], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_at_least_600_reserved_questions_are_asked():
    questions = list(draw_full_questions(11))
    assert len(questions) == sum(group.n for group in GROUPS) >= 600
    assert all(question.exchange.is_reserved for question in questions)
    assert questions[:50] == list(draw_full_questions(11))[:50]
    assert rate_change([]) is None


@pytest.mark.parametrize(
    ("said", "grammar"),
    [("Cherry lemon.", "repeat"), ("A fox found a red hat by it there.", "recite")],
)
def test_a_text_by_heart_in_place_of_a_phrase_is_judged_as_one(monkeypatch, said, grammar):
    expected, asked = [], []

    def transcribe(waveform, rate, name):
        asked.append(name)
        return said.lower().rstrip(".")

    known = {"repeat": "", "recite": ""}
    judge = SimpleNamespace(
        grammars=known, expect=lambda name, text: expected.append(name), transcribe=transcribe
    )
    monkeypatch.setattr(FullExaminer, "__init__", lambda self: None)
    monkeypatch.setattr(FullExaminer, "read", lambda self, waveform, rate: said)
    monkeypatch.setattr(FullExaminer, "spelled", lambda self, text: text)
    examiner = FullExaminer()
    examiner.judge, examiner.judge_every, examiner.way = judge, 1, SimpleNamespace(rate=22_050)
    question = next(
        each
        for each in draw_full_questions(3, 0.3)
        if each.exchange.skill == "repeat" and each.exchange.language == "en"
    )
    heard = SimpleNamespace(done=SimpleNamespace(text=said), waveform=np.zeros(9, np.float32))
    figures = examiner.judge_sound(question, heard)
    assert asked == [grammar, grammar]  # the reply, and the synthesiser's own
    assert expected == (["repeat"] if grammar == "repeat" else [])
    assert figures.is_understood
    assert figures.is_reference_understood
