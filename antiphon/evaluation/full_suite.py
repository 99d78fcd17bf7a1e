"""Evaluates a model of the full domain: conversations in two languages through the whole path.

Right and wrong come from the domain. Sound is judged by an independent recogniser, in Mandarin
without its tones; replies are also read back by the recogniser half of the speech tokenizer, which
has never heard the decoder but is no independent judge.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from antiphon.assembly import ModelChoice, load_parts, open_pipeline
from antiphon.audio import resample
from antiphon.dialogue.session import Session
from antiphon.dialogue.turn_pipeline import TurnPipeline
from antiphon.evaluation.asking import Heard, ask, keep
from antiphon.evaluation.full_grammars import full_grammars, grammar_of, repeat_grammar
from antiphon.evaluation.full_questions import (
    RECORDED_VOICE,
    FullQuestion,
    draw_full_questions,
)
from antiphon.evaluation.full_report import (
    FullRecord,
    confusions,
    error_rate,
    markdown_table,
    plot,
    read_back,
    shares_by,
    table_rows,
)
from antiphon.evaluation.judge import Judge
from antiphon.evaluation.mandarin_phones import spoken_words
from antiphon.evaluation.report import describe_machine
from antiphon.evaluation.resynthesis import Resynthesiser
from antiphon.evaluation.transcriber import CodeTranscriber
from antiphon.models.base import Waveform
from antiphon.models.registry import ModelBundle
from antiphon.training.corpus_plan import Utterance
from antiphon.training.domain.talk_lexicon import REFUSALS
from antiphon.training.domain.words import MAX_WORDS
from antiphon.training.grammar import Exchange, normalise
from antiphon.training.recogniser import edit_distance, labels_to_text, text_to_labels
from antiphon.training.synthesis import SAMPLE_RATE, say_in_runs
from antiphon.training.voices import MIDDLE, output_speaking

TOKEN_RATE = 12.5
N_RESYNTHESISED = 40


def reference_voice(text: str, language: str, pace: float) -> Waveform:
    """Say an answer as the corpus has it, (n,) float32 at 16 kHz."""
    speaking = output_speaking(MIDDLE, language, pace)
    answer = Utterance("", text, speaking, "", "answer", "", "", language, pace, MIDDLE)
    return say_in_runs(answer).astype(np.float32) / np.float32(32768)


@dataclass(frozen=True)
class SoundFigures:
    """What was made of a reply's sound; None where nobody judged. As in FullRecord."""

    n_errors: int | None = None
    n_reference_errors: int | None = None
    understood: str | None = None
    is_understood: bool | None = None
    is_reference_understood: bool | None = None


class FullExaminer:
    """Judges replies of the full domain; counts the codes that were used."""

    def __init__(self, bundle: ModelBundle, judge_every: int) -> None:
        self.codebook = bundle.speech_tokenizer.model.codebook.weight.detach()  # type: ignore[attr-defined]
        self.transcriber = CodeTranscriber(bundle.paths.speech_tokenizer, self.codebook)
        self.judge, self.judge_every = Judge(full_grammars()), judge_every
        self.way = Resynthesiser(bundle)
        self.used: set[int] = set()

    def read(self, waveform: Waveform, rate: int) -> str:
        """Read a sound back through the speech tokens alone: a letter model would mend it."""
        if not len(waveform):
            return ""
        codes = self.way.codes(resample(waveform, rate, SAMPLE_RATE))
        return self.transcriber.transcribe(torch.tensor(codes), greedy=True)

    def spelled(self, text: str) -> str:
        """Write a text in the recogniser's letters."""
        alphabet = self.transcriber.alphabet
        return labels_to_text(text_to_labels(text, alphabet), alphabet)

    def examine(self, question: FullQuestion, replies: Sequence[Heard]) -> FullRecord:
        """Compare the last of some replies with what was right."""
        exchange, heard = question.exchange, replies[-1]
        self.used.update(heard.codes)
        spoken = self.spelled(exchange.question) if not exchange.sound else ""
        codes = torch.tensor(heard.codes)
        recognised = self.transcriber.transcribe(codes, greedy=True)
        transcribed = self.transcriber.transcribe(codes)
        text = heard.done.text
        sound = self.judge_sound(question, heard)
        return FullRecord(
            group=question.group.name,
            language=exchange.language,
            voice=exchange.sound or question.voice,
            skill=exchange.skill,
            question=exchange.question or exchange.sound,
            before=tuple(turn.question for turn in exchange.before),
            expected=exchange.answer,
            answer=text,
            is_right=normalise(text) == normalise(exchange.answer),
            is_refusal=normalise(text) in {normalise(refusal) for refusal in REFUSALS.values()},
            is_domain=exchange.skill != "refusal",
            recognised=recognised,
            n_errors=edit_distance(spoken, recognised) if spoken else 0,
            n_characters=len(spoken),
            transcribed=transcribed,
            n_transcribed_errors=edit_distance(spoken, transcribed) if spoken else 0,
            understood=sound.understood,
            is_understood=sound.is_understood,
            is_reference_understood=sound.is_reference_understood,
            n_read_errors=sound.n_errors,
            n_read_characters=len(self.spelled(text)),
            n_reference_errors=sound.n_reference_errors,
            rate_change=rate_change(replies) if exchange.skill == "pace" else None,
            wanted_change=1 / exchange.pace if exchange.skill == "pace" else None,
            first_audio_s=heard.done.timings.first_audio_s,
            rtf=heard.done.rtf,
            audio_s=heard.done.audio_s,
        )

    def judge_sound(self, question: FullQuestion, heard: Heard) -> SoundFigures:
        """Compare the reply's sound, and the synthesiser's, with the words that the reply shows."""
        exchange, text = question.exchange, heard.done.text
        said = spoken_words(text)
        if question.number % self.judge_every or not said:
            return SoundFigures()
        reference = reference_voice(text, exchange.language, exchange.pace)
        spelled = self.spelled(text)
        figures = SoundFigures(
            n_errors=edit_distance(spelled, self.read(heard.waveform, self.way.rate)),
            n_reference_errors=edit_distance(spelled, self.read(reference, SAMPLE_RATE)),
        )
        grammar = grammar_of(exchange)
        if grammar not in self.judge.grammars:
            return figures
        if grammar == "repeat" and len(said.split()) > MAX_WORDS:
            grammar = "recite"  # no phrase: a text by heart, over which free words take minutes
        elif grammar == "repeat":
            self.judge.expect(grammar, repeat_grammar(f"{text} {exchange.answer}"))
        understood = self.judge.transcribe(heard.waveform, self.way.rate, grammar)
        of_reference = self.judge.transcribe(reference, SAMPLE_RATE, grammar)
        return SoundFigures(
            figures.n_errors,
            figures.n_reference_errors,
            understood,
            understood == said,
            of_reference == said,
        )


def rate_change(replies: Sequence[Heard]) -> float | None:
    """How many times as fast the last reply is spoken as the one before, in letters a second."""
    rates = []
    for heard in replies[-2:]:
        seconds, letters = heard.done.audio_s, len(normalise(heard.done.text))
        if seconds <= 0 or not letters:
            return None
        rates.append(letters / seconds)
    return round(rates[1] / rates[0], 4) if len(rates) == 2 else None


async def converse(pipeline: TurnPipeline, clips: Sequence[Waveform]) -> list[Heard]:
    """Ask some questions one after the other in one conversation."""
    session = Session()
    return [await ask(pipeline, clip, session) for clip in clips]


async def run_full(options: argparse.Namespace) -> str:
    """Ask all questions and write the report; returns the table of bars."""
    bundle = load_parts(ModelChoice(model=options.model, device="cpu", dtype="float32"))
    examiner = FullExaminer(bundle, options.judge_every)
    questions = list(draw_full_questions(options.seed, options.scale))
    records = []
    async with open_pipeline(bundle) as pipeline:
        await ask(pipeline, np.full(SAMPLE_RATE, 1e-3, np.float32))  # warm-up
        for question in tqdm(questions, unit="question", file=sys.stderr):
            clips = [question.speak(turn) for turn in question.turns]
            replies = await converse(pipeline, clips)
            if options.keep_audio is not None:
                rate = bundle.decoder.sample_rate
                keep(options.keep_audio, question.number, clips[-1], replies[-1], rate)
            records.append(examiner.examine(question, replies))
    return write_full_report(records, questions, examiner, options)


def size_on_disk(bundle: ModelBundle) -> float:
    """Add up the files of the parts, in MB."""
    paths = bundle.paths
    folders = (paths.speech_tokenizer, paths.language_model, paths.decoder)
    files = [file for folder in folders for file in Path(folder).rglob("*") if file.is_file()]
    return round(sum(file.stat().st_size for file in files) / 1e6, 2)


def answers_to_resynthesise(questions: Sequence[FullQuestion], judge: Judge) -> list[Exchange]:
    """Choose answers all in English that the judge has a grammar for, each text once."""
    chosen = {
        q.exchange.answer: q.exchange
        for q in questions
        if q.exchange.answer.isascii() and grammar_of(q.exchange) in judge.grammars
    }
    return list(chosen.values())[:N_RESYNTHESISED]


def write_full_report(
    records: list[FullRecord],
    questions: Sequence[FullQuestion],
    examiner: FullExaminer,
    options: argparse.Namespace,
) -> str:
    """Write JSON, table and plot; returns the table."""
    spoken = answers_to_resynthesise(questions, examiner.judge)
    loss = examiner.way.measure(spoken, examiner.judge)
    rows = table_rows(
        records,
        round(loss.wer - loss.wer_original, 4),
        size_on_disk(examiner.way.bundle),
        RECORDED_VOICE,
    )
    n_codes = len(examiner.codebook)
    document = {
        "what": "spoken questions of the full domain through the whole path; every combination "
        "was kept out of the training",
        "command": f"antiphon eval {options.model} --seed {options.seed} --scale {options.scale} "
        f"--judge-every {options.judge_every}",
        "machine": describe_machine(),
        "questions": len(records),
        "table": [asdict(row) | {"is_reached": row.is_reached} for row in rows],
        "bit_rate": round(TOKEN_RATE * math.log2(n_codes), 1),
        "codebook_use": round(len(examiner.used) / n_codes, 4),
        "resynthesis": asdict(loss),
        "read_back": {
            language: read_back([r for r in records if r.language == language])
            for language in ("en", "zh")
        },
        "by_skill": shares_by(records, lambda r: f"{r.skill} ({r.language})"),
        "by_group": shares_by(records, lambda r: f"{r.group} ({r.language})"),
        "by_voice": shares_by(records, lambda r: r.voice),
        "mandarin_cer_through_codes": error_rate([r for r in records if r.language == "zh"]),
        "confusions": confusions(records),
        "recordings": []
        if options.recordings is None
        else examiner.way.recordings(options.recordings, examiner.transcriber, options.keep_audio),
        "records": [asdict(record) for record in records],
    }
    table = markdown_table(rows)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    options.out.write_text(text, encoding="utf-8")
    options.out.with_suffix(".md").write_text(table, encoding="utf-8")
    plot(records, options.out.with_suffix(".png"))
    return table
