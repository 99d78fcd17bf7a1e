"""Where spoken answers stop being understood on their way from text to sound.

    python benchmarks/speech_stages.py resources/embedded --n-answers 12

Answers of the full domain are followed through four stages: the synthesiser's own voice, that
through the vocoder alone, its speech tokens through the decoder, and the language model's speech
tokens, which is given the text. An independent recogniser that expects an answer of that skill
judges each; the reading half of the speech tokenizer, which reads any letters, tells the rate of
wrong ones. What a stage loses more than the one before is its own.
"""

import argparse
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from antiphon.assembly import ModelChoice, load_parts
from antiphon.audio import resample
from antiphon.dialogue.prompt import N_AUDIO_BLOCK, N_TEXT_BLOCK, REPLY_MODE, render_system
from antiphon.evaluation.full_grammars import full_grammars, grammar_of
from antiphon.evaluation.full_suite import FullExaminer, reference_voice
from antiphon.evaluation.mandarin_phones import spoken_words
from antiphon.evaluation.report import describe_machine
from antiphon.models.base import Waveform
from antiphon.models.glm4voice.language_model import load_language_model
from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer
from antiphon.training.domain.table import FullDomain
from antiphon.training.domain.words import as_written
from antiphon.training.grammar import Exchange
from antiphon.training.recogniser import edit_distance
from antiphon.training.synthesis import SAMPLE_RATE
from antiphon.training.vocoder_data import log_mel
from flow_inference.vocoder_stream import VocoderStream

STAGES = ("synthesiser", "vocoder", "decoder", "language model")
LEFT_OUT = ("repeat", "followup", "pace")
LONGEST_REPLY = 400


class Speaker:
    """Puts texts into speech tokens with a language model, greedily."""

    def __init__(self, folder: Path) -> None:
        self.model = load_language_model(folder, progress=False).float().eval()
        self.tokenizer = GlmTextTokenizer.from_pretrained(folder)
        layout = self.tokenizer.layout
        system = render_system("speech", layout, self.tokenizer)
        self.opening = [*system, layout.assistant, *self.tokenizer.encode(REPLY_MODE)]

    @torch.inference_mode()
    def speak(self, text: str) -> list[int]:
        """Give the speech tokens of an answer whose text is given block by block."""
        text_ids, codes = self.tokenizer.encode(as_written(text)), []
        given, cache = self.opening, None
        audio_0 = self.tokenizer.layout.audio_0
        while text_ids:
            given = [*given, *text_ids[:N_TEXT_BLOCK]]
            del text_ids[:N_TEXT_BLOCK]
            for _ in range(N_AUDIO_BLOCK if text_ids else LONGEST_REPLY):
                out = self.model(torch.tensor([given]), past_key_values=cache, use_cache=True)
                cache, best = out.past_key_values, int(out.logits[0, -1].argmax())
                if best < audio_0:
                    given = []
                    break
                codes.append(best - audio_0)
                given = [best]
        return codes


@dataclass
class Tally:
    """Counts of one skill: answers, answers understood and wrong letters by stage, letters."""

    n: int = 0
    letters: int = 0
    understood: Counter[str] = field(default_factory=Counter)
    wrong_letters: Counter[str] = field(default_factory=Counter)

    def report(self) -> dict[str, object]:
        """Shares by stage."""
        return {
            "answers": self.n,
            "understood": {stage: self.understood[stage] for stage in STAGES},
            "letters_wrong": {
                stage: round(self.wrong_letters[stage] / max(1, self.letters), 4)
                for stage in STAGES
            },
        }


def draw_answers(n: int, seed: int) -> Iterator[Exchange]:
    """Yield up to `n` different answers of each skill and language that can be judged."""
    domain, judged = FullDomain(), full_grammars()
    for skill in domain.table:
        if skill.name in LEFT_OUT:
            continue
        rng, seen = random.Random(f"{seed}-{skill.key}"), set()
        for _ in range(20 * n):
            exchange = domain.draw(rng, skill.name, language=skill.language)
            is_new = exchange.answer not in seen and grammar_of(exchange) in judged
            if is_new and not exchange.before and len(seen) < n:
                seen.add(exchange.answer)
                yield exchange


def stages_of(
    exchange: Exchange, examiner: FullExaminer, speaker: Speaker
) -> Iterator[tuple[str, Waveform, int]]:
    """Yield the answer's sound after each stage with its sample rate; none for no sound."""
    way, decoder = examiner.way, examiner.way.bundle.decoder
    said = reference_voice(exchange.answer, exchange.language, 1.0)
    yield "synthesiser", said, SAMPLE_RATE
    mel: Tensor = log_mel(torch.from_numpy(resample(said, SAMPLE_RATE, way.rate))[None])[0]
    copied = VocoderStream(decoder.hift, seed=1).push(mel, is_last=True)  # type: ignore[attr-defined]
    yield "vocoder", copied.numpy(), way.rate
    yield "decoder", way.sound(way.codes(said)), way.rate
    codes = speaker.speak(exchange.answer)
    yield "language model", way.sound(codes) if codes else np.zeros(0, np.float32), way.rate


def follow(exchange: Exchange, examiner: FullExaminer, speaker: Speaker, tally: Tally) -> None:
    """Count what is understood of one answer after each stage."""
    words, letters = spoken_words(exchange.answer), examiner.spelled(exchange.answer)
    tally.n += 1
    tally.letters += len(letters)
    for stage, sound, rate in stages_of(exchange, examiner, speaker):
        tally.wrong_letters[stage] += edit_distance(letters, examiner.read(sound, rate))
        if len(sound):
            heard = examiner.judge.transcribe(sound, rate, grammar_of(exchange))
            tally.understood[stage] += heard == words


def add_up(tallies: list[Tally]) -> Tally:
    """Sum counts."""
    total = Tally()
    for each in tallies:
        total.n += each.n
        total.letters += each.letters
        total.understood.update(each.understood)
        total.wrong_letters.update(each.wrong_letters)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder with tokenizer/, lm/ and decoder/")
    parser.add_argument("--n-answers", type=int, default=12, help="of each skill and language")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/speech_stages.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle = load_parts(ModelChoice(model=options.model, device="cpu", dtype="float32"))
    examiner, speaker = FullExaminer(bundle, 1), Speaker(Path(bundle.paths.language_model))
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    for exchange in tqdm(list(draw_answers(options.n_answers, options.seed)), unit="answer"):
        key = f"{exchange.skill} ({exchange.language})"
        follow(exchange, examiner, speaker, tallies[key])
    by_language = {
        language: add_up([t for key, t in tallies.items() if f"({language})" in key]).report()
        for language in ("en", "zh")
    }
    report = {
        "what": "answers understood by an independent recogniser after each stage from text to "
        "sound, and letters that the tokenizer's reading half gets wrong",
        "command": f"python benchmarks/speech_stages.py {options.model} "
        f"--n-answers {options.n_answers} --seed {options.seed}",
        "machine": describe_machine(),
        "all": by_language,
        "by_skill": {key: tally.report() for key, tally in tallies.items()},
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(by_language, indent=1))


if __name__ == "__main__":
    main()
