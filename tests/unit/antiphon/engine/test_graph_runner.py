"""Which steps are recorded, how many are kept, and what happens when one cannot be."""

import pytest

from antiphon.engine.graph_runner import Action, GraphRunner


class Tape:
    """Records actions by noting that it did, and counts what runs."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.recorded = 0
        self.replayed = 0

    def make(self, shape: int) -> Action:
        return lambda: self.made.append(shape)

    def record(self, action: Action) -> Action:
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            action()

        return replay


def test_each_shape_is_recorded_once_and_replayed() -> None:
    tape = Tape()
    runner = GraphRunner(tape.make, tape.record)
    for shape in (1, 2, 1, 1, 2):
        runner.find(shape)()
    assert (tape.recorded, tape.replayed, tape.made) == (2, 5, [1, 2, 1, 1, 2])
    assert len(runner) == 2
    assert 1 in runner
    assert 3 not in runner


def test_the_one_not_used_for_longest_makes_room() -> None:
    tape = Tape()
    runner = GraphRunner(tape.make, tape.record, max_graphs=2)
    for shape in (1, 2, 1, 3):
        runner.find(shape)()
    assert (1 in runner, 2 in runner, 3 in runner) == (True, False, True)
    runner.find(2)()
    assert tape.recorded == 4
    assert len(runner) == 2


def test_without_memory_steps_run_plainly_until_there_is_some() -> None:
    tape, room = Tape(), [False, True]
    runner = GraphRunner(tape.make, tape.record, lambda: room.pop(0))
    runner.find(1)()
    assert (tape.recorded, tape.made) == (0, [1])
    runner.find(1)()
    assert (tape.recorded, tape.made) == (1, [1, 1])


def test_what_cannot_be_recorded_runs_plainly_and_is_not_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tape, n_tried = Tape(), 0

    def fail(action: Action) -> Action:
        nonlocal n_tried
        n_tried += 1
        raise RuntimeError("operation not permitted when stream is capturing")

    runner = GraphRunner(tape.make, fail)
    for shape in (1, 1, 2):
        runner.find(shape)()
    assert (n_tried, tape.made) == (1, [1, 1, 2])
    assert "without CUDA graphs" in caplog.text
    assert "stream is capturing" in caplog.text


def test_without_a_recorder_the_step_itself_is_called() -> None:
    tape = Tape()
    runner = GraphRunner(tape.make)
    runner.find(1)()
    runner.find(1)()
    assert (tape.made, len(runner)) == ([1, 1], 1)
