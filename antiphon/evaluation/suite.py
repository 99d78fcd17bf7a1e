"""`antiphon eval embedded`: spoken questions through the whole path, judged by the grammar.

Right and wrong come from the grammar, whether the reply's sound can be understood from an
independent recogniser; next to it stands what that makes of the synthesiser's own voice.
"""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from antiphon.assembly import ModelChoice, choose_paths, load_parts, open_pipeline
from antiphon.evaluation.asking import Heard, ask, keep
from antiphon.evaluation.full_suite import run_full
from antiphon.evaluation.judge import Judge
from antiphon.evaluation.questions import GROUPS, Question, draw_questions
from antiphon.evaluation.report import (
    AnswerRecord,
    break_down,
    describe_machine,
    markdown,
    percentile,
)
from antiphon.evaluation.transcriber import CodeTranscriber
from antiphon.logs import configure_logging
from antiphon.models.registry import ModelBundle
from antiphon.training.domain.table import FULL, SMALL, find_domain
from antiphon.training.grammar import normalise
from antiphon.training.lm_export import read_domain
from antiphon.training.recogniser import edit_distance, labels_to_text, text_to_labels
from antiphon.training.synthesis import SAMPLE_RATE, require_synthesisers, say
from antiphon.training.voices import ANSWER_VOICE

logger = logging.getLogger(__name__)


def report_file(text: str) -> Path:
    """Refuse a place where no report could be written, before the questions are asked.

    Raises:
        ArgumentTypeError: If it is a folder.
    """
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(
            f"{text} is a folder; name a file in it, such as {path / 'embedded.json'}"
        )
    return path


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `antiphon eval`."""
    parser = argparse.ArgumentParser(prog="antiphon eval", description=__doc__, allow_abbrev=False)
    parser.add_argument("model", help="embedded, or a folder with lm/, tokenizer/ and decoder/")
    parser.add_argument(
        "--domain",
        choices=(SMALL, FULL),
        help="what is asked (default: what the model says it was taught)",
    )
    parser.add_argument(
        "--n-reserved",
        type=int,
        default=200,
        help="small domain: questions in voices never trained on",
    )
    parser.add_argument(
        "--n-training",
        type=int,
        default=105,
        help="small domain: questions in voices heard in training",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="full domain: factor on the 700 questions"
    )
    parser.add_argument(
        "--recordings",
        type=Path,
        help="full domain: folder of recordings to send through the tokens and back",
    )
    parser.add_argument(
        "--judge-every", type=int, default=1, help="judge the sound of every n-th reply"
    )
    parser.add_argument("--seed", type=int, default=11, help="seed of the questions")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for torch's choice")
    parser.add_argument(
        "--out",
        type=report_file,
        default=Path("benchmarks/results/embedded.json"),
        help="file of the report; table and picture go beside it (default: %(default)s)",
    )
    parser.add_argument(
        "--keep-audio", type=Path, help="folder for the questions and replies as wav"
    )
    return parser


class Examiner:
    """Judges replies."""

    def __init__(self, bundle: ModelBundle, judge_every: int) -> None:
        codebook = bundle.speech_tokenizer.model.codebook.weight.detach()  # type: ignore[attr-defined]
        self.transcriber = CodeTranscriber(bundle.paths.speech_tokenizer, codebook)
        self.judge, self.judge_every = Judge(), judge_every
        self.sample_rate = bundle.decoder.sample_rate
        self.n_seen = 0

    def understand(self, heard: Heard, skill: str) -> tuple[str | None, bool | None, bool | None]:
        """What the recogniser hears, if the reply shows that, and the same of the synthesiser."""
        self.n_seen += 1
        said = normalise(heard.done.text)
        if (self.n_seen - 1) % self.judge_every or not said:
            return None, None, None
        understood = self.judge.transcribe(heard.waveform, self.sample_rate, skill)
        reference = say(heard.done.text, ANSWER_VOICE)
        of_reference = self.judge.transcribe(reference, SAMPLE_RATE, skill)
        return understood, understood == said, of_reference == said

    def examine(self, question: Question, heard: Heard) -> AnswerRecord:
        """Compare a reply with what was right."""
        exchange = question.exchange
        spoken = labels_to_text(text_to_labels(exchange.question))
        recognised = self.transcriber.transcribe(torch.tensor(heard.codes), greedy=True)
        understood, is_understood, is_reference_understood = self.understand(heard, exchange.skill)
        return AnswerRecord(
            group=question.group,
            voice=question.voice,
            skill=exchange.skill,
            question=exchange.question,
            expected=exchange.answer,
            answer=heard.done.text,
            is_right=normalise(heard.done.text) == normalise(exchange.answer),
            recognised=recognised,
            n_errors=edit_distance(spoken, recognised),
            n_characters=len(spoken),
            understood=understood,
            is_understood=is_understood,
            is_reference_understood=is_reference_understood,
            first_audio_s=heard.done.timings.first_audio_s,
            rtf=heard.done.rtf,
            audio_s=heard.done.audio_s,
        )


async def run(options: argparse.Namespace) -> list[AnswerRecord]:
    """Ask all questions."""
    bundle = load_parts(ModelChoice(model=options.model, device="cpu", dtype="float32"))
    examiner = Examiner(bundle, options.judge_every)
    counts = dict(zip(GROUPS, (options.n_reserved, options.n_training), strict=True))
    questions = [q for group, n in counts.items() for q in draw_questions(group, n, options.seed)]
    records = []
    async with open_pipeline(bundle) as pipeline:
        await ask(pipeline, np.full(SAMPLE_RATE, 1e-3, np.float32))  # warm-up
        for number, question in enumerate(tqdm(questions, unit="question", file=sys.stderr)):
            clip = question.speak()
            heard = await ask(pipeline, clip)
            if options.keep_audio is not None:
                keep(options.keep_audio, number, clip, heard, bundle.decoder.sample_rate)
            records.append(examiner.examine(question, heard))
    return records


def write_report(records: list[AnswerRecord], options: argparse.Namespace) -> str:
    """Write the JSON report and a markdown table beside it; returns the table."""
    report = {
        "by_group": break_down(records, lambda r: f"{r.group} voices"),
        "by_voice": break_down(records, lambda r: r.voice),
        "by_skill": break_down(records, lambda r: f"{r.skill} ({r.group} voices)"),
    }
    table = markdown(report)
    first = [r.first_audio_s for r in records if r.first_audio_s is not None]
    document = {
        "what": "spoken questions through the whole path; reserved combinations throughout",
        "command": f"antiphon eval {options.model} --n-reserved {options.n_reserved} "
        f"--n-training {options.n_training} --judge-every {options.judge_every} "
        f"--seed {options.seed}",
        "machine": describe_machine(),
        "ttfa_p50_s": percentile(first, 0.5),
        **report,
        "records": [asdict(record) for record in records],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    options.out.with_suffix(".md").write_text(table, encoding="utf-8")
    return table


def main(argv: Sequence[str]) -> int:
    """Run `antiphon eval`."""
    options = build_parser().parse_args(argv)
    configure_logging("WARNING")
    require_synthesisers()
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    name = options.domain or read_domain(
        Path(choose_paths(ModelChoice(model=options.model)).language_model)
    )
    if find_domain(name).name == FULL:
        sys.stdout.write(asyncio.run(run_full(options)))
        return 0
    records = asyncio.run(run(options))
    sys.stdout.write(write_report(records, options))
    return 0
