"""Turns the records of an evaluation into a summary, a markdown table and a plot."""

import math
import platform
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
import transformers

from antiphon import __version__


@dataclass(frozen=True)
class AnswerRecord:
    """How one question went.

    Attributes:
        group, voice, skill, question, expected: What was asked.
        answer: The text that came.
        is_right: Whether its normalised words equal the expected ones.
        recognised: The question as the speech tokens still tell it.
        n_errors, n_characters: Edit distance of `recognised` and length of the question.
        understood: What the independent recogniser heard in the reply; None if it was not asked.
        is_understood: Whether that equals the words the reply shows.
        is_reference_understood: The same for the synthesiser's own voice saying the reply's words.
        first_audio_s, rtf, audio_s: Timings and length.
    """

    group: str
    voice: str
    skill: str
    question: str
    expected: str
    answer: str
    is_right: bool
    recognised: str
    n_errors: int
    n_characters: int
    understood: str | None
    is_understood: bool | None
    is_reference_understood: bool | None
    first_audio_s: float | None
    rtf: float | None
    audio_s: float


def share(values: Sequence[bool | None]) -> float | None:
    """Share of true among the values that are not None."""
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 4) if known else None


def percentile(values: Sequence[float], fraction: float) -> float | None:
    """The smallest value that at least `fraction` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = max(1, math.ceil(fraction * len(ordered)))
    return round(ordered[rank - 1], 4) if ordered else None


def summarise(records: Sequence[AnswerRecord]) -> dict[str, float | int | None]:
    """Put the figures of some records together."""
    understood = share([r.is_understood for r in records])
    reference = share([r.is_reference_understood for r in records])
    first = [r.first_audio_s for r in records if r.first_audio_s is not None]
    rtf = [r.rtf for r in records if r.rtf is not None]
    characters = sum(r.n_characters for r in records)
    return {
        "questions": len(records),
        "right_text_answers": share([r.is_right for r in records]),
        "questions_recognised_exactly": share([r.n_errors == 0 for r in records]),
        "character_error_rate": round(sum(r.n_errors for r in records) / max(1, characters), 4),
        "answers_judged": sum(r.is_understood is not None for r in records),
        "speech_understood": understood,
        "synthesiser_understood": reference,
        "understood_relative": round(understood / reference, 4)
        if understood is not None and reference
        else None,
        "ttfa_p50_s": percentile(first, 0.5),
        "ttfa_p95_s": percentile(first, 0.95),
        "rtf_mean": round(statistics.fmean(rtf), 4) if rtf else None,
    }


def break_down(
    records: Sequence[AnswerRecord], key: Callable[[AnswerRecord], str]
) -> dict[str, dict[str, float | int | None]]:
    """Summarise by a key, such as the voice."""
    names = sorted({key(record) for record in records})
    return {name: summarise([r for r in records if key(r) == name]) for name in names}


def describe_machine() -> dict[str, str | int]:
    """Say where and with what the figures were measured."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": len(models),
        "threads": torch.get_num_threads(),
        **describe_accelerator(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "antiphon": __version__,
        "commit": commit or "unknown",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def describe_accelerator() -> dict[str, str | int]:
    """Name the accelerator, if there is one that can say its name."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    module = None if accelerator is None else torch.get_device_module(accelerator)
    if module is None or not hasattr(module, "get_device_name"):
        return {}
    return {"accelerator": str(module.get_device_name())}


def percent(value: float | int | None) -> str:
    """Show a share."""
    return "-" if value is None else f"{100 * value:.1f} %"


def markdown_row(name: str, figures: dict[str, float | int | None]) -> str:
    """One line of the table."""
    first, rtf = figures["ttfa_p50_s"], figures["rtf_mean"]
    cells = [
        name,
        str(figures["questions"]),
        percent(figures["right_text_answers"]),
        percent(figures["questions_recognised_exactly"]),
        percent(figures["character_error_rate"]),
        percent(figures["speech_understood"]),
        percent(figures["synthesiser_understood"]),
        percent(figures["understood_relative"]),
        "-" if first is None else f"{first:.2f} s",
        "-" if rtf is None else f"{rtf:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def markdown(report: dict[str, dict[str, dict[str, float | int | None]]]) -> str:
    """Write all breakdowns as one table."""
    head = (
        "who asks / what | questions | right text | question exact | CER | reply understood "
        "| synthesiser understood | relative | first audio p50 | RTF"
    )
    lines = [f"| {head} |", "|" + "---|" * 10]
    for part in ("by_group", "by_voice", "by_skill"):
        lines += [markdown_row(name, figures) for name, figures in report[part].items()]
    return "\n".join(lines) + "\n"
