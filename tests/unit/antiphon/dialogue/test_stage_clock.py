"""The clock of a turn: first times only, durations where they are durations."""

import pytest

from antiphon.dialogue import stage_clock
from antiphon.dialogue.events import TurnTimings
from antiphon.dialogue.stage_clock import StageClock


@pytest.fixture
def watch(monkeypatch):
    """Set the time by hand."""

    class Watch:
        now = 100.0

    monkeypatch.setattr(stage_clock.time, "perf_counter", lambda: Watch.now)
    return Watch


def test_all_stages(watch):
    clock = StageClock()
    stages = (
        clock.mark_tokenised,
        clock.mark_generate,
        clock.mark_first_token,
        clock.mark_text,
        clock.mark_audio,
        clock.mark_end,
    )
    for mark in (*stages, *stages):
        watch.now += 1.0
        mark()
    assert clock.timings() == TurnTimings(1.0, 1.0, 4.0, 5.0, 6.0)


def test_what_did_not_happen_is_none_and_the_total_is_now(watch):
    clock = StageClock()
    watch.now += 2.5
    clock.mark_first_token()  # without a request there is no prefill
    assert clock.timings() == TurnTimings(2.5, None, None, None, 2.5)
