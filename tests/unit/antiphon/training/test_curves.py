"""Curves for TensorBoard: what a run logs can be read back, also after a stop; none without it."""

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from antiphon.training.loop import Run


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    """Read a curve as the viewer does."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def log(run: Run, figures: dict[int, float]) -> None:
    for step, value in figures.items():
        run.step = step
        run.log(loss=value)


def test_what_is_logged_becomes_curves(tmp_path: Path) -> None:
    run = Run(tmp_path, minutes=1.0)
    log(run, {1: 4.0, 25: 2.0})
    run.log(valid_cer=0.5, code_use=0.25)
    run.close()
    assert curve(tmp_path, "loss") == [(1, 4.0), (25, 2.0)]
    assert curve(tmp_path, "valid_cer") == [(25, 0.5)]
    assert curve(tmp_path, "code_use") == [(25, 0.25)]


def test_a_resumed_run_continues_its_curves(tmp_path: Path) -> None:
    """What came after the checkpoint is taken again, and shown once."""
    first = Run(tmp_path, minutes=1.0)
    log(first, {25: 4.0})
    first.save({})
    log(first, {50: 3.0, 75: 2.0})
    first.close()
    second = Run(tmp_path, minutes=1.0)
    second.resume()
    log(second, {50: 3.5, 75: 2.5, 100: 1.0})
    second.close()
    assert curve(tmp_path, "loss") == [(25, 4.0), (50, 3.5), (75, 2.5), (100, 1.0)]


def test_a_run_without_tensorboard_logs_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    run = Run(tmp_path, minutes=1.0)
    log(run, {1: 4.0, 25: 2.0})
    run.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_run_that_logs_nothing_leaves_no_event_file(tmp_path: Path) -> None:
    Run(tmp_path, minutes=1.0).close()
    assert not list(tmp_path.iterdir())
