"""Samples: what is asked, the sound files, the page, and `antiphon samples` on a tiny model."""

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from antiphon import cli
from antiphon.errors import AudioError
from antiphon.evaluation import samples
from antiphon.evaluation.sample_page import render_page
from antiphon.evaluation.samples import (
    LONGEST_S,
    Sample,
    SampleQuestion,
    draw_samples,
    make_sample,
    write_mp3,
)
from antiphon.training.domain.table import find_domain
from antiphon.training.grammar import Exchange
from antiphon.training.voices import RESERVED_MANDARIN_VOICES, RESERVED_VOICES
from tests.fake_pipeline import RATE, FakePipeline
from tests.tiny_checkpoints import write_tiny_checkpoints

ANSWER = "It is a fine answer"
QUESTION = SampleQuestion("en", "flite:rms", Exchange("sums", "what is <it>", ANSWER + "."))


def test_every_skill_of_the_full_domain_is_asked_once_in_a_reserved_voice() -> None:
    domain = find_domain("full")
    questions = draw_samples(domain, 1)
    asked = Counter((q.exchange.skill, q.language) for q in questions)
    assert set(asked) == {(skill.name, skill.language) for skill in domain.table}
    assert set(asked.values()) == {1}
    assert len({q.file_name for q in questions}) == len(questions)
    assert all(q.exchange.is_reserved for q in questions)
    for q in questions:
        assert q.voice in (RESERVED_VOICES if q.language == "en" else RESERVED_MANDARIN_VOICES)
    assert {q.voice for q in questions if q.language == "en"} == set(RESERVED_VOICES)
    assert draw_samples(domain, 1) == questions
    assert draw_samples(domain, 2) != questions


def sample(folder: Path, question: SampleQuestion = QUESTION) -> Sample:
    pipeline = FakePipeline(pace_s=0.0)
    made = asyncio.run(make_sample(pipeline, question, folder, RATE, "low"))
    assert {options.voice for options in pipeline.options} == {"low"}
    return made


def test_a_question_and_its_answer_stand_in_one_file(tmp_path: Path) -> None:
    made = sample(tmp_path)
    assert made.is_right
    assert [answer.strip() for answer in made.answers] == [ANSWER]
    assert [path.name for path in tmp_path.iterdir()] == ["sums-en.mp3"]
    sound, rate = soundfile.read(tmp_path / "sums-en.mp3")
    reply_s = FakePipeline().reply_s
    assert rate == RATE
    assert len(sound) / rate > reply_s + 0.8
    spectrum = np.abs(np.fft.rfft(sound[-round(reply_s * rate) :]))
    peak_hz = spectrum.argmax() * rate / round(reply_s * rate)
    assert peak_hz == pytest.approx(440, abs=2)  # the answer comes last


def test_a_conversation_is_asked_turn_by_turn_and_judged_by_its_end(tmp_path: Path) -> None:
    first = Exchange("sums", "one plus one", "Two.")
    followed = replace(QUESTION.exchange, answer="Something else.", before=(first,))
    made = sample(tmp_path, replace(QUESTION, exchange=followed))
    assert len(made.answers) == 2
    assert not made.is_right
    seconds = soundfile.info(tmp_path / "sums-en.mp3").duration
    assert seconds > 2 * FakePipeline().reply_s


def test_files_stay_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-2, 2, round(2 * LONGEST_S * RATE))
    write_mp3(tmp_path / "long.mp3", noise.astype(np.float32), RATE)
    assert soundfile.info(tmp_path / "long.mp3").duration == pytest.approx(
        LONGEST_S, abs=0.3
    )  # MP3 pads
    assert (tmp_path / "long.mp3").stat().st_size <= 150_000


def test_a_place_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken.mp3").mkdir()
    with pytest.raises(AudioError, match=r"cannot write .*taken\.mp3"):
        write_mp3(tmp_path / "taken.mp3", np.zeros(8000, np.float32), RATE)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.mp3"]


def test_the_page_shows_texts_as_text_and_what_would_be_right() -> None:
    wrong = replace(QUESTION.exchange, answer="Two < three.")
    shown = [
        Sample(QUESTION, ["<b>It</b>"], True),
        Sample(replace(QUESTION, exchange=wrong), ["Two"], False),
    ]
    page = render_page(shown, "antiphon samples --model 'a & b'")
    assert "1 of 2 answers are right" in page
    assert "what is &lt;it&gt;" in page
    assert "&lt;b&gt;It&lt;/b&gt;" in page
    assert "no: Two &lt; three." in page
    assert 'src="sums-en.mp3"' in page
    assert "a &amp; b" in page


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoints(tmp_path_factory.mktemp("tiny"))


def test_the_command_leaves_a_page_with_a_file_for_each_question(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = draw_samples(find_domain("small"), 5)[:2]  # random weights answer at great length
    monkeypatch.setattr(samples, "draw_samples", lambda domain, seed: few)
    out = tmp_path / "new" / "samples"
    assert cli.main(["samples", "--model", str(model), "--out", str(out)]) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"index.html", *(question.file_name for question in few)}
    page = (out / "index.html").read_text(encoding="utf-8")
    assert all(f'src="{question.file_name}"' in page for question in few)
    assert "2 samples, 0 right in text" in capsys.readouterr().out


def test_a_voice_that_is_not_there_is_named(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["samples", "--model", str(model), "--out", str(tmp_path), "--voice", "squeaky"]
    assert cli.main(arguments) == 1
    assert "squeaky" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_missing_synthesisers_and_folders_are_told(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    arguments = ["samples", "--model", str(model), "--out", str(tmp_path / "file")]
    assert cli.main(arguments) == 1
    assert "--out" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(arguments) == 1
    assert "synthesisers not found: espeak-ng, flite" in capsys.readouterr().err
