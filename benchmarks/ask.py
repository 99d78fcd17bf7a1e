"""Times `antiphon ask` as a user runs it: spoken questions in one process, JSON lines read back.

Run: python benchmarks/ask.py [--n 21] [--out benchmarks/results/ask.json]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from antiphon.audio import write_wav
from antiphon.evaluation.questions import draw_questions
from antiphon.evaluation.report import describe_machine, percentile
from antiphon.training.synthesis import SAMPLE_RATE


def ask(clips: list[str]) -> list[dict]:
    """Run the command on all clips; one record each."""
    command = [sys.executable, "-m", "antiphon", "ask", *clips, "--json", "--temperature", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=21, help="number of questions")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/ask.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips = []
        for number, question in enumerate(draw_questions("training", options.n, seed=5)):
            clips.append(str(Path(folder) / f"{number}.wav"))
            write_wav(clips[-1], question.speak(), SAMPLE_RATE)
        records = ask(clips)
    first = [r["timings"]["first_audio_s"] for r in records if r["timings"]["first_audio_s"]]
    report = {
        "what": "antiphon ask on spoken questions, seconds from the moment the clip is read",
        "command": f"python benchmarks/ask.py --n {options.n}",
        "machine": describe_machine(),
        "questions": len(records),
        "first_audio_s": {"p50": percentile(first, 0.5), "p95": percentile(first, 0.95)},
        "first_audio_s_max": max(first),
        "rtf_mean": round(statistics.fmean(r["rtf"] for r in records if r["rtf"]), 4),
        "rtf_max": max(r["rtf"] for r in records if r["rtf"]),
        "audio_s_mean": round(statistics.fmean(r["audio_s"] for r in records), 3),
        "records": records,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    shown = {k: report[k] for k in ("first_audio_s", "first_audio_s_max", "rtf_mean", "rtf_max")}
    sys.stdout.write(json.dumps(shown) + "\n")


if __name__ == "__main__":
    main()
