"""Writes the page that plays a model's samples: one HTML file beside them. Makes no sound."""

from collections.abc import Sequence
from html import escape

from antiphon.evaluation.samples import Sample

LANGUAGES = {"en": "English", "zh": "Mandarin"}
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif; }}
body {{ margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }}
td, th {{ padding: 0.4rem 0.8rem; text-align: left; vertical-align: top; }}
tr + tr td {{ border-top: 1px solid color-mix(in srgb, currentcolor 25%, transparent); }}
audio {{ width: 16rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{about}</p>
<table>
<thead>
<tr><th>Skill</th><th>Asked, by</th><th>Answered</th><th>Right</th><th>Listen</th></tr>
</thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""
_ROW = """\
<tr><td>{skill}<br><small>{language}</small></td>
<td><span lang="{code}">{questions}</span><br><small>{voice}</small></td>
<td><span lang="{code}">{answers}</span></td>
<td>{verdict}</td>
<td><audio controls preload="none" src="{file}" aria-label="{skill}, {language}"></audio></td>
</tr>"""


def lines(texts: Sequence[str]) -> str:
    """Put texts below each other."""
    return "<br>".join(escape(text) for text in texts)


def render_row(sample: Sample) -> str:
    """Write one line of the table."""
    question = sample.question
    right = question.exchange.answer
    return _ROW.format(
        skill=escape(question.exchange.skill),
        language=LANGUAGES[question.language],
        code=question.language,
        questions=lines([turn.question or turn.sound for turn in question.turns]),
        voice=escape(question.voice),
        answers=lines(sample.answers),
        verdict="yes" if sample.is_right else f"no: {escape(right)}",
        file=escape(question.file_name),
    )


def render_page(samples: Sequence[Sample], command: str) -> str:
    """Write the whole page.

    Args:
        samples: What it plays.
        command: What made them.
    """
    n_right = sum(sample.is_right for sample in samples)
    about = (
        f"{n_right} of {len(samples)} answers are right in text. The synthesised voices that ask "
        "were kept out of the training, and so was what they ask, in skills that keep something. "
        f"Made by <code>{escape(command)}</code>."
    )
    rows = "\n".join(render_row(sample) for sample in samples)
    return _PAGE.format(title="What the model says", about=about, rows=rows)
