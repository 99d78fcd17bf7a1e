"""What is written can be read again, and flags become options."""

import argparse
import json
from dataclasses import dataclass

import pytest

from antiphon.bench.options import add_flags, option, read_options
from antiphon.bench.report import Figure, Report, Table, ratio, write_report
from antiphon.errors import ConfigError

REPORT = Report(
    "Seconds of nothing.",
    (Table("times", ("side", "p50", "max"), (("ours", 0.123456, None), ("theirs", 2, 3.0))),),
    (Figure("Times", "n", "s", {"ours": [(1, 2.0), (2, 3.0)], "theirs": []}),),
    ({"side": "ours", "at_s": 1.0},),
)


def test_three_files(tmp_path):
    markdown = write_report(REPORT, tmp_path / "new", "times", "antiphon bench times")
    assert (tmp_path / "new/times.md").read_text() == markdown
    assert "| side | p50 | max |\n| --- | --- | --- |\n| ours | 0.1235 | - |\n" in markdown
    assert "| theirs | 2 | 3 |\n" in markdown
    found = json.loads((tmp_path / "new/times.json").read_text())
    assert found["command"] == "antiphon bench times"
    assert {"processor", "cores", "python", "torch", "commit", "date"} <= set(found["machine"])
    assert found["tables"]["times"][0] == {"side": "ours", "p50": 0.123456, "max": None}
    assert found["records"] == [{"side": "ours", "at_s": 1.0}]
    assert (tmp_path / "new/times.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("ours", "baseline", "expected"),
    [(0.5, 1.0, 2.0), (2.0, 1.0, 0.5), (None, 1.0, None), (1.0, None, None), (0.0, 1.0, None)],
)
def test_ratio(ours, baseline, expected):
    assert ratio(ours, baseline) == expected


@dataclass(frozen=True)
class Options:
    n_words: int = option(3, "words")
    rates: tuple[float, ...] = option((0.5, 1.0), "rates")


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_flags(parser, Options)
    return read_options(Options, parser.parse_args(arguments))


def test_flags_become_options():
    assert parse() == Options()
    assert parse("--n-words", "7", "--rates", "2") == Options(7, (2.0,))


@pytest.mark.parametrize(
    ("arguments", "named"), [(("--n-words", "0"), "--n-words 0"), (("--rates", "1", "-2"), "-2.0")]
)
def test_numbers_must_be_above_0(arguments, named):
    with pytest.raises(ConfigError, match=f"{named} must be a number above 0"):
        parse(*arguments)
