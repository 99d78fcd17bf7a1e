"""What a benchmark found, written as JSON, as markdown tables and as a picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from antiphon.evaluation.report import describe_machine, percentile

Cell = str | int | float | None
Point = tuple[float, float]
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
DIGITS = 4


@dataclass(frozen=True)
class Table:
    """Figures under a title; the first column names the rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A diagram: lines by name, each a list of points."""

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[Point]]


@dataclass(frozen=True)
class Report:
    """What one benchmark found.

    Attributes:
        what: What was measured and in which unit, in a sentence or two.
        tables: The figures.
        figures: The pictures.
        records: Single measurements, for whoever wants other figures.
    """

    what: str
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]
    records: tuple[Mapping[str, object], ...] = ()


def percentiles(values: Sequence[float], *names: str) -> list[float | None]:
    """Give percentiles by their names in `SHARES`; None where there are no values."""
    return [percentile(values, SHARES[name]) for name in names]


def ratio(ours: float | None, baseline: float | None) -> float | None:
    """Say how many times `ours` the baseline is; None where either is missing."""
    return round(baseline / ours, 2) if ours and baseline is not None else None


def write_report(report: Report, folder: Path, name: str, command: str) -> str:
    """Write NAME.json, NAME.md and NAME.png; returns the markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    document = {
        "what": report.what,
        "command": command,
        "machine": machine,
        "tables": {
            table.title: [dict(zip(table.columns, row, strict=True)) for row in table.rows]
            for table in report.tables
        },
        "records": report.records,
    }
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    markdown = render_markdown(report, command, machine)
    (folder / f"{name}.md").write_text(markdown, encoding="utf-8")
    draw(report.figures, folder / f"{name}.png")
    return markdown


def render_markdown(report: Report, command: str, machine: Mapping[str, str | int]) -> str:
    """Write what was measured, where, and the tables."""
    where = ", ".join(f"{key} {value}" for key, value in machine.items())
    parts = [f"{report.what}\n\n`{command}`\n\n{where}\n"]
    for table in report.tables:
        lines = [table.columns, ("---",) * len(table.columns), *table.rows]
        rows = ["| " + " | ".join(map(show, line)) + " |\n" for line in lines]
        parts.append(f"**{table.title}**\n\n{''.join(rows)}")
    return "\n".join(parts)


def show(cell: Cell) -> str:
    """Write one cell."""
    if cell is None:
        return "-"
    return f"{round(cell, DIGITS):g}" if isinstance(cell, float) else str(cell)


def draw(figures: Sequence[Figure], path: Path) -> None:
    """Draw all figures below each other."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(8, 3.4 * len(figures)))
    panels = canvas.subplots(len(figures), 1, squeeze=False)[:, 0]
    for panel, figure in zip(panels, figures, strict=True):
        for name, points in figure.lines.items():
            panel.plot([x for x, _ in points], [y for _, y in points], marker=".", label=name)
        panel.set(title=figure.title, xlabel=figure.x_label, ylabel=figure.y_label)
        panel.grid(alpha=0.3)
        panel.legend()
    canvas.tight_layout()
    canvas.savefig(path, dpi=90)
