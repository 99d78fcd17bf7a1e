"""Measure the page in a real browser: `python -m benchmarks.page`, from the root of the repository.

Starts the two programs of `antiphon demo` with the embedded model, opens headless Chromium, and
writes benchmarks/results/page.json and page.md. Needs playwright, axe-core, Chromium and espeak-ng.
"""

import argparse
import shlex
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import Browser

from benchmarks import page_endurance, page_rows
from benchmarks.call_driver import open_browser
from benchmarks.page_report import Row, write_rows
from benchmarks.page_rows import Setting
from benchmarks.running_page import MODEL, PAGE, RunningPage, running_page

RESULTS = Path(__file__).with_name("results") / "page.json"
ROWS: Mapping[str, Callable[[Setting], Row]] = {
    "a": page_rows.first_sound,
    "b": page_rows.smoothness,
    "c": page_rows.interruption,
    "d": page_rows.answer,
    "e": page_rows.echo,
    "f": page_endurance.long_call,
    "g": page_endurance.restart,
    "h": page_endurance.accessibility,
    "i": page_endurance.other_hosts,
}


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    names = ", ".join(f"{key}: {row.__doc__.splitlines()[0]}" for key, row in ROWS.items())
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=names)
    parser.add_argument("--only", default=",".join(ROWS), help="rows, such as a,b,d")
    parser.add_argument("--turns", type=int, default=8, help="questions of rows a to d")
    parser.add_argument("--echo-s", type=float, default=60, help="sound of row e, s")
    parser.add_argument("--call-minutes", type=float, default=10, help="length of row f")
    parser.add_argument(
        "--patience-s", type=float, default=60, help="how long to wait for anything"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON; the table lies beside")
    return parser


def setting_of(
    page: RunningPage, browser: Browser, options: argparse.Namespace, say: Callable[[str], None]
) -> Setting:
    """Put together what a row is measured with."""
    return Setting(
        page,
        browser,
        n_turns=options.turns,
        echo_s=options.echo_s,
        call_minutes=options.call_minutes,
        patience_s=options.patience_s,
        say=say,
    )


def measure(key: str, page: RunningPage, options: argparse.Namespace) -> Row:
    """Measure one row in a browser of its own; what fails is told in the row."""

    def say(text: str) -> None:
        sys.stderr.write(f"  {key}: {text}\n")

    began_at = time.monotonic()
    function = ROWS[key]
    sys.stderr.write(f"{key}: {str(function.__doc__).splitlines()[0]}\n")
    try:
        with open_browser() as browser:
            row = function(setting_of(page, browser, options, say))
    except Exception as error:  # the other rows are measured all the same
        traceback.print_exc()
        sys.stderr.write(page.logs() + "\n")
        row = Row(str(function.__doc__).splitlines()[0], error=f"{type(error).__name__}: {error}")
        page.stop()
        page.start(MODEL, PAGE)
    sys.stderr.write(f"{key}: {time.monotonic() - began_at:.0f} s\n")
    return row


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; returns 0 if every figure keeps to its bar."""
    options = build_parser().parse_args(argv)
    keys = [key.strip() for key in options.only.split(",")]
    unknown = [key for key in keys if key not in ROWS]
    if unknown:
        sys.stderr.write(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}\n")
        return 2
    command = shlex.join(
        ["python", "-m", "benchmarks.page", *(sys.argv[1:] if argv is None else argv)]
    )
    rows: dict[str, Row] = {}
    for number in (signal.SIGINT, signal.SIGTERM):  # so that both programs are ended, too
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="antiphon-page-"))
        page = stack.enter_context(running_page(Path(folder)))
        for key in keys:
            rows[key] = measure(key, page, options)
            table = write_rows(rows, options.out, command, list(ROWS))
    sys.stdout.write(table)
    is_met = all(f.is_met is not False for row in rows.values() for f in row.figures)
    return 0 if is_met and not any(row.error for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
