"""How the page's figures are made from what was captured, and that a bad capture is seen."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.call_driver import RATE, join
from benchmarks.page_report import Figure, Row, write_rows
from benchmarks.page_rows import FADE, captured_ms, compare

SOURCE = (0.3 * np.sin(np.arange(1, RATE) * 0.11)).astype(np.float32)


def as_played(source: np.ndarray) -> np.ndarray:
    """Fade and surround a reply as the player does."""
    gain = np.minimum(
        1, np.minimum(np.arange(len(source)) + 1, len(source) - 1 - np.arange(len(source))) / FADE
    )
    return np.concatenate([np.zeros(300), source * gain, np.zeros(500)]).astype(np.float32)


def test_a_reply_as_it_came_has_nothing_lost() -> None:
    found = compare(as_played(SOURCE), SOURCE)
    assert found.n_lost == 0
    assert found.step_excess <= 1e-6


def test_a_gap_and_a_click_are_seen() -> None:
    played = as_played(SOURCE)
    played[9000:9480] = 0
    found = compare(played, SOURCE)
    assert 400 <= found.n_lost <= 480
    assert found.step_excess > 0.1
    shifted = np.concatenate([as_played(SOURCE)[:9000], np.zeros(480, np.float32)])
    assert compare(np.concatenate([shifted, as_played(SOURCE)[9000:]]), SOURCE).n_lost > 10_000


def test_nothing_captured_is_all_lost() -> None:
    assert compare(np.zeros(100, np.float32), SOURCE).n_lost > 0.9 * len(SOURCE)


def test_a_capture_ends_at_the_first_long_silence() -> None:
    tone, pause = np.ones(RATE // 2, np.float32), np.zeros(RATE // 10, np.float32)
    capture = np.concatenate([pause, tone, pause, tone, *[pause] * 5, tone])
    assert captured_ms(capture) == pytest.approx(1100, abs=1)


def test_stretches_become_one_sound() -> None:
    first = {"wall": 1000, "lastWall": 1400, "frame": 0, "lastFrame": 9599}
    second = {"wall": 1700, "lastWall": 1900, "frame": 17_000, "lastFrame": 21_799}
    sound = join([first, second])
    assert (sound.began_ms, sound.ended_ms, sound.ms) == (1000, 1900, 600)


@pytest.mark.parametrize(
    ("figure", "is_met"),
    [
        (Figure("x", 60, 60), True),
        (Figure("x", 60.1, 60), False),
        (Figure("x", None, 60), False),
        (Figure("x", 3, least=4), False),
        (Figure("x", 4, least=4), True),
        (Figure("x", 4), None),
    ],
)
def test_bars(figure: Figure, is_met: bool | None) -> None:
    assert figure.is_met is is_met


def test_rows_that_were_not_measured_stay(tmp_path: Path) -> None:
    path = tmp_path / "page.json"
    write_rows({"a": Row("first", (Figure("x", 1, 2),))}, path, "one", ["a", "b"])
    table = write_rows({"b": Row("second", error="no browser")}, path, "two", ["a", "b"])
    rows = json.loads(path.read_text("utf-8"))["rows"]
    assert [rows[key]["command"] for key in "ab"] == ["one", "two"]
    assert "| first | x | 1 | at most 2 | yes |" in table
    assert "no browser" in table
    assert path.with_suffix(".md").read_text("utf-8") == table
