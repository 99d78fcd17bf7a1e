"""What cheaper ways to solve the decoder's flow cost in sound.

    python benchmarks/decoder_quality.py resources/embedded --n-answers 49

Answers of the grammar are synthesised in the voice that the decoder learned and turned into speech
tokens. Each way decodes them in blocks, as a reply is. Its mel is compared with that of 10 guided
Euler steps in float32 and with the recording's, and its sound is given to a recogniser that knows
what kind of answer comes, and back to the speech tokenizer, whose reading half writes down any
letters. Cost is CPU time of the mel, so that a busy machine changes little.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from antiphon.audio import resample
from antiphon.evaluation.judge import Judge
from antiphon.evaluation.report import describe_machine
from antiphon.evaluation.transcriber import CodeTranscriber
from antiphon.models.base import Waveform
from antiphon.training import grammar
from antiphon.training.recogniser import edit_distance, labels_to_text, text_to_labels
from antiphon.training.synthesis import SAMPLE_RATE, synthesise_text
from antiphon.training.vocoder_data import log_mel
from antiphon.training.voices import ANSWER_STRETCH, ANSWER_VOICE, Speaking
from cosyvoice.flow.solving import Solving
from flow_inference import AudioDecoder
from flow_inference.vocoder_stream import VocoderStream
from speech_tokenizer import SpeechTokenizer

PUBLISHED = Solving()
WAYS = (
    PUBLISHED,
    Solving(6),
    Solving(4),
    Solving(4, guided_steps=2),
    Solving(4, guided_steps=0),
    Solving(3),
    Solving(2),
    Solving(2, solver="midpoint"),
    Solving(4, guided_steps=2, dtype="bfloat16"),
    Solving(6, temperature=0.6),
    Solving(4, start_at=0.2, temperature=0.6),
    Solving(3, start_at=0.3, temperature=0.3),
    Solving(2, start_at=0.5, temperature=0.2),
)
MEL_BOUND = 0.1
UNDERSTOOD_BOUND = 2
"""How far a way may be from the published one: log-mel L1, and answers understood less."""


@dataclass(frozen=True)
class Answer:
    """One recorded answer, (n_samples,) float32 at `SAMPLE_RATE`, and its speech tokens."""

    exchange: grammar.Exchange
    recording: Waveform
    codes: list[int]


@dataclass(frozen=True)
class Decoded:
    """Mel (80, T) of each answer, and CPU seconds a second of sound for all of them."""

    mels: list[Tensor]
    cost: float


def record_answers(tokenizer: SpeechTokenizer, n: int) -> Iterator[Answer]:
    """Synthesise distinct answers, as many of each skill, every second one of the reserved."""
    rng, seen = random.Random(4), set()
    for index in range(n):
        skill = grammar.SKILLS[index % len(grammar.SKILLS)]
        for _ in range(100):
            exchange = grammar.draw(rng, skill, reserved=index % 2 == 0)
            if exchange.answer not in seen:
                break
        seen.add(exchange.answer)
        pcm = synthesise_text(exchange.answer, Speaking(ANSWER_VOICE, ANSWER_STRETCH))
        recording = pcm.astype(np.float32) / np.float32(32768)
        yield Answer(exchange, recording, tokenizer.encode(recording, SAMPLE_RATE).tolist())


def decode(decoder: AudioDecoder, answers: list[Answer], solving: Solving) -> Decoded:
    """Decode all answers in blocks."""
    shipped, decoder.solving = decoder.solving, solving
    began_s = time.thread_time()
    mels = [decoder.decode_mel(answer.codes, seed=seed) for seed, answer in enumerate(answers)]
    spent_s, decoder.solving = time.thread_time() - began_s, shipped
    n_frames = sum(mel.shape[1] for mel in mels)
    sound_s = n_frames * decoder.clock.hop_length / decoder.sample_rate
    return Decoded(mels, spent_s / sound_s)


def speak(decoder: AudioDecoder, mels: list[Tensor]) -> list[Waveform]:
    """Give the sound of mels."""
    return [VocoderStream(decoder.hift, seed=1).push(mel, is_last=True).numpy() for mel in mels]


def count_understood(judge: Judge, answers: list[Answer], sounds: list[Waveform], rate: int) -> int:
    """Count the answers whose sound the recogniser understands."""
    return sum(
        is_understood(judge, sound, rate, answer)
        for answer, sound in zip(answers, sounds, strict=True)
    )


def is_understood(judge: Judge, sound: Waveform, rate: int, answer: Answer) -> bool:
    """Tell whether the recogniser hears the whole answer."""
    heard = judge.transcribe(sound, rate, answer.exchange.skill)
    return heard == grammar.normalise(answer.exchange.answer)


class Reader:
    """Reads sounds back through the speech tokens."""

    def __init__(self, folder: Path, tokenizer: SpeechTokenizer) -> None:
        self.tokenizer = tokenizer
        self.transcriber = CodeTranscriber(folder, tokenizer.model.codebook.weight.detach())

    def share_wrong(self, sounds: list[Waveform], rate: int, texts: list[str]) -> float:
        """Share of the letters of some texts that are not read in their sounds."""
        alphabet, n_wrong, n_letters = self.transcriber.alphabet, 0, 0
        for sound, text in zip(sounds, texts, strict=True):
            letters = labels_to_text(text_to_labels(text, alphabet), alphabet)
            codes = self.tokenizer.encode(resample(sound, rate, SAMPLE_RATE), SAMPLE_RATE)
            n_wrong += edit_distance(letters, self.transcriber.transcribe(codes, greedy=True))
            n_letters += len(letters)
        return round(n_wrong / n_letters, 4)


def distance(mels: list[Tensor], others: list[Tensor]) -> float:
    """Mean absolute difference of log-mels, over the frames that both have."""
    found = []
    for mel, other in zip(mels, others, strict=True):
        n_frames = min(mel.shape[1], other.shape[1])
        found.append(float((mel[:, :n_frames] - other[:, :n_frames]).abs().mean()))
    return round(fmean(found), 4)


def mel_of(answer: Answer, rate: int) -> Tensor:
    """Log-mel of the recording, (80, T)."""
    sound = torch.from_numpy(resample(answer.recording, SAMPLE_RATE, rate))
    return log_mel(sound[None])[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder with tokenizer/ and decoder/")
    parser.add_argument("--n-answers", type=int, default=49)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/decoder_quality.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    decoder, judge = AudioDecoder.from_pretrained(options.model / "decoder"), Judge()
    folder = options.model / "tokenizer"
    tokenizer = SpeechTokenizer.from_pretrained(folder)
    answers = list(record_answers(tokenizer, options.n_answers))
    texts, reader = [answer.exchange.answer for answer in answers], Reader(folder, tokenizer)
    recorded = [mel_of(answer, decoder.sample_rate) for answer in answers]
    decode(decoder, answers[:2], PUBLISHED)  # warm-up
    reference = decode(decoder, answers, PUBLISHED)
    rows = []
    for way in WAYS:
        got = reference if way == PUBLISHED else decode(decoder, answers, way)
        sounds = speak(decoder, got.mels)
        rows.append(
            asdict(replace(way, guided_steps=sum(map(way.is_guided, range(way.n_timesteps)))))
            | {
                "cpu_s_a_second_of_sound": round(got.cost, 4),
                "mel_l1_to_published": distance(got.mels, reference.mels),
                "mel_l1_to_recording": distance(got.mels, recorded),
                "understood": count_understood(judge, answers, sounds, decoder.sample_rate),
                "letters_wrong": reader.share_wrong(sounds, decoder.sample_rate, texts),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    report = {
        "what": "ways to solve the flow: CPU seconds of the mel a second of sound, one thread; "
        "mean absolute difference of the log-mel; answers understood by a recogniser; share of "
        "letters that the tokenizer's reading half gets wrong",
        "command": f"python benchmarks/decoder_quality.py {options.model} "
        f"--n-answers {options.n_answers}",
        "machine": describe_machine(),
        "answers": len(answers),
        "recordings_understood": sum(
            is_understood(judge, answer.recording, SAMPLE_RATE, answer) for answer in answers
        ),
        "recordings_letters_wrong": reader.share_wrong(
            [answer.recording for answer in answers], SAMPLE_RATE, texts
        ),
        "bounds": {"mel_l1_to_published": MEL_BOUND, "understood_less": UNDERSTOOD_BOUND},
        "shipped": asdict(decoder.solving),
        "ways": rows,
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
