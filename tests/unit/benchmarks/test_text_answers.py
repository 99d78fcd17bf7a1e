"""Text answers in batches are those that are given one by one, and counted where they belong."""

from pathlib import Path

import pytest

from antiphon.evaluation.full_questions import FullQuestion, draw_full_questions
from benchmarks import text_answers

EMBEDDED = Path(__file__).parents[3] / "resources" / "embedded"


def some_questions(*skills: str) -> list[FullQuestion]:
    drawn = draw_full_questions(3, 0.3)
    return [question for question in drawn if question.exchange.skill in skills]


def test_batches_change_no_answer() -> None:
    listener = text_answers.Listener(EMBEDDED)
    questions = some_questions("repeat", "pace")[:4]
    prompts = [listener.prompt(text_answers.spoken_turns(question)) for question in questions]
    assert len({len(prompt) for prompt in prompts}) > 1
    together = listener.first_blocks(prompts)
    assert together == [listener.first_blocks([prompt])[0] for prompt in prompts]
    assert all(together)


def test_answers_are_counted_and_drawn(tmp_path: Path) -> None:
    questions = some_questions("repeat")
    found = text_answers.tally(questions, [False] + [True] * (len(questions) - 1))
    counts = found["skills"]["repeat (en)"]
    assert counts["of"] - counts["right"] == 1
    assert counts["share"] == round(counts["right"] / counts["of"], 4)
    assert sum(each["of"] for each in found["groups"].values()) == len(questions)
    text_answers.draw_growth({"before": found, "after": found}, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 1000


def test_a_name_too_few_is_told(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["text_answers.py", "one", "two", "--names", "first"])
    with pytest.raises(SystemExit):
        text_answers.main()
    assert "2 models have 1 names" in capsys.readouterr().err
