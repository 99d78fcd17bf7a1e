"""Sound to speech tokens and back to sound: what is lost on the way."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from antiphon.audio import read_audio, resample, write_wav
from antiphon.evaluation.full_grammars import repeat_grammar
from antiphon.evaluation.judge import Judge
from antiphon.evaluation.transcriber import CodeTranscriber
from antiphon.models.base import Waveform
from antiphon.models.registry import ModelBundle
from antiphon.training.grammar import Exchange, normalise
from antiphon.training.pitch import analyse_pitch
from antiphon.training.recogniser import edit_distance
from antiphon.training.synthesis import SAMPLE_RATE, say
from antiphon.training.vocoder_data import HOP, log_mel
from antiphon.training.voices import ANSWER_VOICE

RECORDINGS = {".wav", ".flac", ".mp3", ".ogg", ".m4a"}


@dataclass(frozen=True)
class Loss:
    """What the way through the tokens did to sounds.

    Attributes:
        n_sounds: How many.
        wer, wer_original: The recogniser's word error rate after the way and before it.
        mel_distance: Mean absolute difference of log mels.
        f0_error_hz: Mean absolute difference of the pitch where both have one; None for nowhere.
    """

    n_sounds: int
    wer: float
    wer_original: float
    mel_distance: float
    f0_error_hz: float | None


class Resynthesiser:
    """Sends sounds through a model's speech tokenizer and decoder."""

    def __init__(self, bundle: ModelBundle) -> None:
        self.bundle = bundle
        self.rate = bundle.decoder.sample_rate

    def codes(self, waveform: Waveform) -> list[int]:
        """Give the speech tokens of (n,) audio at 16 kHz."""
        codes = self.bundle.speech_tokenizer.encode(waveform, SAMPLE_RATE)
        return [int(code) for code in codes]

    def sound(self, codes: list[int]) -> Waveform:
        """Give the sound of speech tokens, (n,) at `rate`."""
        return np.asarray(self.bundle.decoder.decode(codes).numpy(), np.float32)

    def measure(self, exchanges: list[Exchange], judge: Judge) -> Loss:
        """Send English answers through, said by the synthesiser the decoder learned from."""
        errors = before = n_words = 0
        mels: list[float] = []
        pitches: list[float] = []
        for exchange in exchanges:
            original = say(exchange.answer, ANSWER_VOICE)
            back = self.sound(self.codes(original))
            words = normalise(exchange.answer).split()
            skill = exchange.form or exchange.skill
            n_words += len(words)
            if skill == "repeat":
                judge.expect(skill, repeat_grammar(exchange.answer))
            heard = judge.transcribe(original, SAMPLE_RATE, skill)
            before += edit_distance(words, heard.split())
            errors += edit_distance(words, judge.transcribe(back, self.rate, skill).split())
            distance, pitch = compare(resample(original, SAMPLE_RATE, self.rate), back, self.rate)
            mels.append(distance)
            pitches += [] if pitch is None else [pitch]
        return Loss(
            len(exchanges),
            round(errors / max(1, n_words), 4),
            round(before / max(1, n_words), 4),
            round(float(np.mean(mels)), 4),
            round(float(np.mean(pitches)), 2) if pitches else None,
        )

    def recordings(
        self, folder: Path, transcriber: CodeTranscriber, keep: Path | None
    ) -> list[dict[str, str | int | float | None]]:
        """Send every recording of a folder through; the sound that comes back is kept on wish."""
        reports: list[dict[str, str | int | float | None]] = []
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() not in RECORDINGS:
                continue
            original = read_audio(path, SAMPLE_RATE)
            codes = self.codes(original)
            back = self.sound(codes)
            distance, pitch = compare(resample(original, SAMPLE_RATE, self.rate), back, self.rate)
            reports.append(
                {
                    "file": path.name,
                    "seconds": round(len(original) / SAMPLE_RATE, 2),
                    "tokens": len(codes),
                    "different_tokens": len(set(codes)),
                    "read_back": transcriber.transcribe(torch.tensor(codes), greedy=True),
                    "mel_distance": round(distance, 4),
                    "f0_error_hz": None if pitch is None else round(pitch, 2),
                }
            )
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                write_wav(keep / f"{path.stem}-resynthesised.wav", back, self.rate)
        return reports


def compare(original: Waveform, back: Waveform, rate: int) -> tuple[float, float | None]:
    """Compare two sounds frame by frame: log mel distance, and pitch distance in Hz if any."""
    n = min(len(original), len(back)) // HOP * HOP
    first, second = original[:n].astype(np.float32), back[:n].astype(np.float32)
    with torch.no_grad():
        mels = [log_mel(torch.from_numpy(sound)[None]) for sound in (first, second)]
    pitches = [analyse_pitch(sound, n // HOP, HOP, rate).f0 for sound in (first, second)]
    both = (pitches[0] > 0) & (pitches[1] > 0)
    pitch = float(np.abs(pitches[0] - pitches[1])[both].mean()) if both.any() else None
    return float((mels[0] - mels[1]).abs().mean()), pitch
