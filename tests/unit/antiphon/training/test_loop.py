"""The clock of a run: what counts as training time, and how it goes on after a stop."""

from pathlib import Path

import pytest

from antiphon.training import loop
from antiphon.training.loop import LONGEST_STEP_S, Run, find_compiler


class Clock:
    """Stands in for time.monotonic."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


def steps(run: Run, clock: Clock, *seconds: float) -> None:
    for step_s in seconds:
        clock.now_s += step_s
        run.count_step()


def test_steps_and_their_time_are_counted(tmp_path: Path, clock: Clock) -> None:
    run = Run(tmp_path, minutes=1.0)
    steps(run, clock, 10.0, 20.0)
    clock.now_s += 5.0  # of a step under way
    assert (run.step, run.elapsed_s) == (2, 35.0)
    assert run.fraction == pytest.approx(35 / 60)
    clock.now_s += 25.0
    assert run.is_over


def test_a_pause_counts_as_a_minute_at_most(tmp_path: Path, clock: Clock) -> None:
    run = Run(tmp_path, minutes=60.0)
    steps(run, clock, 10.0, 8 * 3600.0)
    assert run.elapsed_s == 10.0 + LONGEST_STEP_S
    steps(run, clock, 1.0)
    clock.now_s += 8 * 3600.0
    assert run.elapsed_s == 11.0 + 2 * LONGEST_STEP_S


def test_a_resumed_run_goes_on_with_its_clock(tmp_path: Path, clock: Clock) -> None:
    run = Run(tmp_path, minutes=10.0)
    steps(run, clock, 30.0, 30.0)
    clock.now_s += 4.0
    run.save({"value": 7})
    clock.now_s += 3600.0
    later = Run(tmp_path, minutes=10.0)
    clock.now_s += 2.0
    assert later.resume() == {"value": 7}
    assert (later.step, later.elapsed_s) == (2, 64.0)
    steps(later, clock, 6.0)
    assert (later.step, later.elapsed_s) == (3, 70.0)


def test_checkpoints_are_due_every_two_minutes_of_the_wall_clock(
    tmp_path: Path, clock: Clock
) -> None:
    run = Run(tmp_path, minutes=10.0)
    steps(run, clock, 119.0)
    assert not run.should_save
    steps(run, clock, 2.0)
    assert run.should_save
    run.save({})
    assert not run.should_save


def test_steps_can_end_a_run_before_its_time(tmp_path: Path, clock: Clock) -> None:
    run = Run(tmp_path, minutes=10.0, max_steps=4)
    steps(run, clock, 1.0, 1.0)
    assert run.fraction == 0.5
    steps(run, clock, 1.0, 1.0)
    assert run.is_over


def test_the_compiler_that_is_named_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert find_compiler() is None
    for name in ("g++", "mine"):
        (tmp_path / name).touch(mode=0o755)
    assert find_compiler() == str(tmp_path / "g++")
    monkeypatch.setenv("CXX", "mine")
    assert find_compiler() == str(tmp_path / "mine")
