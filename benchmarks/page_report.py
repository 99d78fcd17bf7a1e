"""Figures of the page beside their bars: as JSON that keeps rows measured earlier, and as a table.

Knows no browser.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from antiphon.evaluation.report import describe_machine

WHAT = (
    "The page in headless Chromium with a microphone that says synthesised questions, the embedded "
    "model behind it; times are those of the audio threads, where sound enters and leaves."
)


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        what: What it is, with its unit.
        value: What was found; None where it could not be.
        bar: What it has to be at most; None for a figure that is only told.
        least: What it has to be at least.
    """

    what: str
    value: float | int | None
    bar: float | int | None = None
    least: float | int | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether it keeps to its bar; None without one."""
        if self.bar is None and self.least is None:
            return None
        if self.value is None:
            return False
        is_low_enough = self.bar is None or self.value <= self.bar
        return is_low_enough and (self.least is None or self.value >= self.least)

    def to_json(self) -> dict[str, object]:
        """Give it with its verdict."""
        return {**vars(self), "is_met": self.is_met}


@dataclass(frozen=True)
class Row:
    """What one row of the table found.

    Attributes:
        title: What was measured.
        figures: With their bars.
        records: Single measurements.
        error: Why it has no (more) figures.
    """

    title: str
    figures: tuple[Figure, ...] = ()
    records: tuple[Mapping[str, object], ...] = field(default=())
    error: str | None = None


def write_rows(rows: Mapping[str, Row], path: Path, command: str, order: Sequence[str]) -> str:
    """Write the JSON and, beside it, the table; gives the table.

    Args:
        rows: What was measured now, by key; rows of the file that are not among them stay.
        path: The JSON file.
        command: What was typed.
        order: Keys in the order in which they are shown.
    """
    known = json.loads(path.read_text("utf-8"))["rows"] if path.is_file() else {}
    machine = describe_machine()
    for key, row in rows.items():
        known[key] = {
            "title": row.title,
            "command": command,
            "machine": machine,
            "figures": [figure.to_json() for figure in row.figures],
            "error": row.error,
            "records": list(row.records),
        }
    document = {"what": WHAT, "rows": {key: known[key] for key in order if key in known}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    table = render(document["rows"])  # type: ignore[arg-type]
    path.with_suffix(".md").write_text(table, encoding="utf-8")
    return table


def render(rows: Mapping[str, Mapping[str, object]]) -> str:
    """Write the table of figures against bars."""
    lines = [
        f"{WHAT}\n",
        "| row | figure | found | bar | met |",
        "|---|---|---|---|---|",
    ]
    machines: dict[str, list[str]] = {}
    for key, row in rows.items():
        title = str(row["title"])
        for figure in row["figures"]:  # type: ignore[attr-defined]
            found = "-" if figure["value"] is None else f"{figure['value']:g}"
            cells = (title, figure["what"], found, bar_of(figure), verdict_of(figure["is_met"]))
            lines.append("| " + " | ".join(cells) + " |")
            title = ""
        if row["error"]:
            lines.append(f"| {title} | could not be measured: {row['error']} | - | - | no |")
        machine = row["machine"]
        where = ", ".join(f"{name} {value}" for name, value in machine.items())  # type: ignore[attr-defined]
        machines.setdefault(f"`{row['command']}`\n\n{where}", []).append(key)
    ends = [f"Rows {', '.join(keys)}: {text}" for text, keys in machines.items()]
    return "\n".join(lines) + "\n\n" + "\n\n".join(ends) + "\n"


def bar_of(figure: Mapping[str, object]) -> str:
    """Write a bar."""
    parts = []
    if figure["bar"] is not None:
        parts.append(f"at most {figure['bar']:g}")
    if figure["least"] is not None:
        parts.append(f"at least {figure['least']:g}")
    return ", ".join(parts) or "-"


def verdict_of(is_met: object) -> str:
    """Write a verdict."""
    return "-" if is_met is None else ("yes" if is_met else "**no**")
