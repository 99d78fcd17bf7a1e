"""The full domain's report: every row of its table with the least it should reach, and the rest.

Knows records of answers only, neither model nor sound.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from antiphon.evaluation.report import percentile, share
from antiphon.training.grammar import normalise

PACE_CHANGE = 1.2


@dataclass(frozen=True)
class FullRecord:
    """How one question went.

    Attributes:
        group, language, voice, skill, question, expected: What was asked.
        before: The questions before it in the same conversation.
        answer: The text that came.
        is_right: Whether its normalised words equal the expected ones.
        is_refusal: Whether the answer is the refusal, in either language.
        is_domain: Whether the question is one the model should answer.
        recognised: The question as the speech tokens still tell it.
        n_errors, n_characters: Edit distance of `recognised` and length of the question.
        transcribed: The question as `antiphon transcribe` writes it, with the letter model.
        n_transcribed_errors: Edit distance of `transcribed`.
        understood: What the independent recogniser heard in the reply, Mandarin in syllables
            without tones; None if it was not asked.
        is_understood: Whether that equals the words the reply shows.
        is_reference_understood: The same for the synthesiser's own voice saying the reply's words.
        n_read_errors, n_read_characters: The reply's sound read back by the speech tokenizer's own
            recogniser: edit distance from the words shown, and their length.
        n_reference_errors: The same distance for the synthesiser saying them.
        rate_change: How many times as fast it speaks as in the reply before; None where pace is
            not asked for.
        wanted_change: More than 1 where faster is asked for, less where slower is; else None.
        first_audio_s, rtf, audio_s: Timings and length.
    """

    group: str
    language: str
    voice: str
    skill: str
    question: str
    before: tuple[str, ...]
    expected: str
    answer: str
    is_right: bool
    is_refusal: bool
    is_domain: bool
    recognised: str
    n_errors: int
    n_characters: int
    transcribed: str
    n_transcribed_errors: int
    understood: str | None
    is_understood: bool | None
    is_reference_understood: bool | None
    n_read_errors: int | None
    n_read_characters: int
    n_reference_errors: int | None
    rate_change: float | None
    wanted_change: float | None
    first_audio_s: float | None
    rtf: float | None
    audio_s: float


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: What is measured.
        value: What came out; None if nothing was measured.
        bar: What it should reach.
        is_most: Whether the bar is the most it may be, else the least.
        unit: "%" (values are shares), "s", "MB", "points" or "".
    """

    what: str
    value: float | None
    bar: float
    is_most: bool = False
    unit: str = "%"

    @property
    def is_reached(self) -> bool | None:
        """Whether the bar is reached; None if nothing was measured."""
        if self.value is None:
            return None
        return self.value <= self.bar if self.is_most else self.value >= self.bar

    def show(self, value: float | None) -> str:
        """Write a value with its unit."""
        if value is None:
            return "-"
        if self.unit in ("%", "points"):
            return f"{100 * value:.1f} {self.unit}"
        return f"{value:.2f} {self.unit}".rstrip()


def right(records: Sequence[FullRecord], *groups: str) -> float | None:
    """Share of right text answers in some groups."""
    return share([r.is_right for r in records if r.group in groups])


def is_pace_changed(record: FullRecord) -> bool | None:
    """Tell whether the rate changed enough in the direction asked for."""
    if record.wanted_change is None:
        return None
    if record.rate_change is None:
        return False
    faster = record.wanted_change > 1
    return record.rate_change >= PACE_CHANGE if faster else record.rate_change <= 1 / PACE_CHANGE


ERRORS: dict[str, Callable[[FullRecord], int]] = {
    "through the codes": attrgetter("n_errors"),  # read alone
    "of transcripts": attrgetter("n_transcribed_errors"),  # with a letter model
}


def error_rate(records: Sequence[FullRecord], way: str = "through the codes") -> float | None:
    """CER of questions through the codes, as one of the ERRORS counts it."""
    characters = sum(r.n_characters for r in records)
    return round(sum(map(ERRORS[way], records)) / characters, 4) if characters else None


def ratio(first: float | None, second: float | None) -> float | None:
    """Divide where both are there."""
    return round(first / second, 4) if first is not None and second else None


def read_back(records: Sequence[FullRecord]) -> dict[str, float | None]:
    """CER of replies and of the synthesiser's own voice, read by the tokenizer's recogniser."""
    known = [r for r in records if r.n_read_errors is not None and r.n_read_characters]
    characters = sum(r.n_read_characters for r in known)
    if not characters:
        return {"reply_cer": None, "synthesiser_cer": None}
    return {
        "reply_cer": round(sum(r.n_read_errors or 0 for r in known) / characters, 4),
        "synthesiser_cer": round(sum(r.n_reference_errors or 0 for r in known) / characters, 4),
    }


def understood_relative(records: Sequence[FullRecord], language: str | None) -> float | None:
    """Replies understood for each of the synthesiser's understood; None for both languages."""
    judged = [r for r in records if language in (None, r.language)]
    understood = share([r.is_understood for r in judged])
    return ratio(understood, share([r.is_reference_understood for r in judged]))


def table_rows(
    records: Sequence[FullRecord], wer_added: float | None, size_mb: float, recorded_voice: str
) -> list[Row]:
    """Compute every row of the table of bars."""
    first = [r.first_audio_s for r in records if r.first_audio_s is not None]
    speed = [r.rtf for r in records if r.rtf is not None]
    english = [r for r in records if r.language == "en" and r.is_domain]
    reserved = [r for r in english if "reserved" in r.group]
    person = [r for r in english if r.voice == recorded_voice]
    outside = [r.is_refusal for r in records if not r.is_domain]
    inside = [r.is_refusal for r in records if r.is_domain]
    return [
        Row("right, English, training voices", right(records, "English, training voices"), 0.97),
        Row(
            "right, English, reserved espeak-ng voices",
            right(records, "English, reserved espeak-ng voices"),
            0.92,
        ),
        Row(f"right, English, {recorded_voice}", right(records, f"English, {recorded_voice}"), 0.8),
        Row("right, Mandarin, training voices", right(records, "Mandarin, training voices"), 0.95),
        Row("right, Mandarin, reserved voice", right(records, "Mandarin, reserved voice"), 0.85),
        Row("right, reserved voices, 10 dB noise", right(records, "10 dB noise"), 0.8),
        Row("right, follow-ups", right(records, "follow-ups"), 0.85),
        Row("refused, out of domain or no speech", share(outside), 0.9),
        Row("refused, in the domain", share(inside), 0.03, is_most=True),
        *(
            Row(
                f"reply understood, relative to the synthesiser ({name})",
                understood_relative(records, language),
                0.95,
            )
            for name, language in (("both languages", None), ("English", "en"), ("Mandarin", "zh"))
        ),
        Row("pace changed by 20 % as asked", share([is_pace_changed(r) for r in records]), 0.95),
        *(
            Row(f"CER {way}, {who}", error_rate(chosen, way), bar, True)
            for way in ERRORS
            for who, chosen, bar in (
                ("reserved espeak-ng voices", reserved, 0.06),
                (recorded_voice, person, 0.15),
            )
        ),
        Row("resynthesis: WER above the original's", wer_added, 0.08, True, "points"),
        Row("size on disk", size_mb, 64, True, "MB"),
        Row("first audio, median", percentile(first, 0.5), 0.8, True, "s"),
        Row("computing a second of speech, median", percentile(speed, 0.5), 0.5, True, ""),
    ]


def confusions(records: Sequence[FullRecord], n: int = 40) -> list[tuple[str, str, int]]:
    """List the words most often put for others: (wanted, got, times)."""
    found: Counter[tuple[str, str]] = Counter()
    for record in records:
        if record.is_right or not record.is_domain:
            continue
        wanted, got = words_of(record.expected), words_of(record.answer)
        matcher = difflib.SequenceMatcher(None, wanted, got, autojunk=False)
        for kind, a, b, c, d in matcher.get_opcodes():
            if kind != "equal":
                found[" ".join(wanted[a:b]), " ".join(got[c:d])] += 1
    return [(wanted, got, times) for (wanted, got), times in found.most_common(n)]


def words_of(text: str) -> list[str]:
    """Cut a text into normalised words; a Chinese character is one."""
    return normalise(text).split()


def shares_by(
    records: Sequence[FullRecord], key: Callable[[FullRecord], str]
) -> dict[str, dict[str, float | int | None]]:
    """Count questions, right answers and CER by a key, such as the voice."""
    names = sorted({key(record) for record in records})
    report: dict[str, dict[str, float | int | None]] = {}
    for name in names:
        chosen = [r for r in records if key(r) == name]
        report[name] = {
            "questions": len(chosen),
            "right_text_answers": share([r.is_right for r in chosen]),
            "character_error_rate": error_rate(chosen),
            "transcribed_error_rate": error_rate(chosen, "of transcripts"),
            "speech_understood": share([r.is_understood for r in chosen]),
            "synthesiser_understood": share([r.is_reference_understood for r in chosen]),
        }
    return report


def markdown_table(rows: Sequence[Row]) -> str:
    """Write the rows as a table."""
    lines = ["| what | measured | bar | reached |", "|---|---|---|---|"]
    words = {True: "yes", False: "no", None: "-"}
    for row in rows:
        bar = ("at most " if row.is_most else "at least ") + row.show(row.bar)
        lines.append(f"| {row.what} | {row.show(row.value)} | {bar} | {words[row.is_reached]} |")
    return "\n".join(lines) + "\n"


def plot(records: Sequence[FullRecord], path: Path) -> None:
    """Draw right answers by skill and by group."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    keys: tuple[Callable[[FullRecord], str], ...] = (
        lambda r: f"{r.skill} ({r.language})",
        lambda r: r.group,
        lambda r: r.voice,
    )
    parts = [shares_by(records, key) for key in keys]
    height = 0.22 * sum(map(len, parts)) + 2
    figure, axes = pyplot.subplots(
        len(parts), 1, figsize=(8, height), height_ratios=[len(part) + 1 for part in parts]
    )
    for axis, part in zip(axes, parts, strict=True):
        values = [float(figures["right_text_answers"] or 0) for figures in part.values()]
        axis.barh(list(part), values)
        axis.set_xlim(0, 1)
        axis.invert_yaxis()
        axis.grid(axis="x", alpha=0.3)
    axes[-1].set_xlabel("share of right text answers")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
