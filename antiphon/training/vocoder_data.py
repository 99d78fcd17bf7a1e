"""Speech at the vocoder's rate, with mel, pitch and phase, cached on disk."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from antiphon.audio import resample
from antiphon.errors import ConfigError
from antiphon.training.data import SAMPLE_RATE as CORPUS_RATE
from antiphon.training.data import Record, SpeechCorpus
from antiphon.training.pitch import analyse_pitch
from antiphon.training.prefetch import map_ahead
from matcha.utils.audio import mel_spectrogram

logger = logging.getLogger(__name__)

SAMPLE_RATE = 22_050
HOP = 256
N_FFT = 1024
N_MELS = 80
HIGHEST_HZ = 8000
MelFrames: TypeAlias = npt.NDArray[np.float32]


def log_mel(waveform: Tensor) -> Tensor:
    """Log-mel spectrogram of the decoder: (B, n) to (B, 80, n / 256)."""
    return mel_spectrogram(waveform, N_FFT, N_MELS, SAMPLE_RATE, HOP, N_FFT, 0, HIGHEST_HZ)


@dataclass(frozen=True)
class VocoderBatch:
    """Aligned pieces: mel (B, 80, T), waveform (B, 256 T), f0 in Hz (B, T), cycles (B, T + 1)."""

    mel: Tensor
    waveform: Tensor
    f0: Tensor
    cycles: Tensor


class VoiceStore:
    """Utterances end to end: waveform, mel, f0, cycles; `bounds` counts frames."""

    def __init__(self, folder: Path) -> None:
        self.mel = np.load(folder / "mel.npy", mmap_mode="r")  # (frames, 80) float16
        self.waveform = np.load(folder / "waveform.npy", mmap_mode="r")  # (frames * 256,) int16
        self.f0 = np.load(folder / "f0.npy")  # (frames,) float32
        self.cycles = np.load(folder / "cycles.npy")  # (frames + utterances,) float64
        self.bounds = np.load(folder / "bounds.npy")  # (utterances + 1,) frames

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.bounds) - 1

    def cut(self, utterance: int, first: int, n_frames: int) -> dict[str, npt.NDArray[np.float32]]:
        """Cut frames [first, first + n_frames) of an utterance."""
        start = int(self.bounds[utterance]) + first
        stop = start + n_frames
        cycles = self.cycles[start + utterance : stop + utterance + 1]
        return {
            "mel": self.mel[start:stop].T.astype(np.float32),
            "waveform": self.waveform[start * HOP : stop * HOP].astype(np.float32) / 32768.0,
            "f0": self.f0[start:stop],
            "cycles": (cycles - np.floor(cycles[0])).astype(np.float32),
        }

    def n_frames(self, utterance: int) -> int:
        """Frames of an utterance."""
        return int(self.bounds[utterance + 1] - self.bounds[utterance])

    def draw(
        self, utterances: range, batch: int, n_frames: int, generator: torch.Generator
    ) -> VocoderBatch:
        """Draw random pieces of `n_frames` frames."""
        pieces: list[dict[str, npt.NDArray[np.float32]]] = []
        while len(pieces) < batch:
            draws = torch.rand(2, generator=generator)
            utterance = utterances[int(draws[0] * len(utterances))]
            room = self.n_frames(utterance) - n_frames
            if room >= 0:
                pieces.append(self.cut(utterance, int(draws[1] * (room + 1)), n_frames))
        stacked = {
            key: torch.from_numpy(np.stack([piece[key] for piece in pieces])) for key in pieces[0]
        }
        return VocoderBatch(**stacked)


def analyse(waveform: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.generic]]:
    """Bring a waveform to the vocoder's rate; mel, pitch and phase of its whole frames."""
    waveform = resample(waveform, CORPUS_RATE, SAMPLE_RATE)
    n_frames = len(waveform) // HOP
    waveform = waveform[: n_frames * HOP]
    pitch = analyse_pitch(waveform, n_frames, HOP, SAMPLE_RATE)
    with torch.no_grad():
        mel = log_mel(torch.from_numpy(waveform)[None])[0].T.numpy()
    return {
        "mel": mel.astype(np.float16),
        "waveform": (waveform * 32767).clip(-32768, 32767).astype(np.int16),
        "f0": pitch.f0.astype(np.float32),
        "cycles": pitch.cycles,
    }


def with_mel(
    part: dict[str, npt.NDArray[np.generic]], mel: MelFrames
) -> dict[str, npt.NDArray[np.generic]]:
    """Put another mel, (n, 80), in the place of an utterance's own; the longer of both is cut."""
    n = min(len(part["f0"]), len(mel))
    return {
        "mel": mel[:n].astype(np.float16),
        "waveform": part["waveform"][: n * HOP],
        "f0": part["f0"][:n],
        "cycles": part["cycles"][: n + 1],
    }


def choose_spoken(
    corpus: SpeechCorpus, voice: str, output_voices: tuple[str, ...], limit: int
) -> list[Record]:
    """List the answers of one synthesiser's voice, or at most `limit` of each output voice.

    Raises:
        ConfigError: If a voice has none.
    """
    if not output_voices:
        records = [r for r in corpus.select("answer") if r.voice == voice][:limit]
        if not records:
            raise ConfigError(f"the corpus has no answers in the voice {voice}; check `voice`")
        return records
    chosen: list[Record] = []
    for name in output_voices:
        records = [r for r in corpus.select(None) if r.output == name][:limit]
        if not records:
            raise ConfigError(
                f"the corpus has no answers in the output voice {name}; check `output_voices`"
            )
        chosen += records
    order = np.random.default_rng(0).permutation(len(chosen))
    return [chosen[place] for place in order]


def is_prepared(folder: Path) -> bool:
    """Tell whether a folder holds prepared utterances; the bounds are written last."""
    return (folder / "bounds.npy").exists()


def build_voice_store(
    corpus: SpeechCorpus,
    records: list[Record],
    folder: Path,
    n_workers: int = 0,
    decode: Callable[[Record], MelFrames] | None = None,
) -> VoiceStore:
    """Prepare utterances, or open what an earlier call prepared.

    Args:
        corpus: Where they are.
        records: Which they are.
        folder: Where the results are kept.
        n_workers: Processes that analyse; 0 does it in this one.
        decode: Gives the mel to learn from, (n, 80), in time with the utterance; None for its own.
    """
    if is_prepared(folder):
        return VoiceStore(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = list(map_ahead(analyse, (corpus.waveform(r) for r in records), n_workers))
    if decode is not None:
        mels = (decode(record) for record in records)
        parts = [with_mel(part, mel) for part, mel in zip(parts, mels, strict=True)]
    for name in parts[0]:
        np.save(folder / f"{name}.npy", np.concatenate([part[name] for part in parts]))
    bounds = np.cumsum([0, *(len(part["f0"]) for part in parts)])
    np.save(folder / "bounds.npy", bounds)
    logger.info("%d utterances, %.1f minutes", len(records), bounds[-1] * HOP / SAMPLE_RATE / 60)
    return VoiceStore(folder)
