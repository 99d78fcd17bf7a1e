"""Speech of one voice at the vocoder's rate, with mel, pitch and phase, cached on disk."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from antiphon.audio import resample
from antiphon.errors import ConfigError
from antiphon.training.data import SAMPLE_RATE as CORPUS_RATE
from antiphon.training.data import SpeechCorpus
from antiphon.training.pitch import analyse_pitch
from matcha.utils.audio import mel_spectrogram

logger = logging.getLogger(__name__)

SAMPLE_RATE = 22_050
HOP = 256
N_FFT = 1024
N_MELS = 80
HIGHEST_HZ = 8000


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


def build_voice_store(corpus: SpeechCorpus, voice: str, limit: int, folder: Path) -> VoiceStore:
    """Prepare the answers of one voice, or open what an earlier call prepared.

    Raises:
        ConfigError: If the corpus has no answers in this voice.
    """
    if (folder / "bounds.npy").exists():
        return VoiceStore(folder)
    records = [r for r in corpus.select("answer") if r.voice == voice][:limit]
    if not records:
        raise ConfigError(f"the corpus has no answers in the voice {voice}; check `voice`")
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[npt.NDArray[np.generic]]] = {
        "mel": [], "waveform": [], "f0": [], "cycles": []
    }  # fmt: skip
    bounds = [0]
    for record in records:
        waveform = resample(corpus.waveform(record), CORPUS_RATE, SAMPLE_RATE)
        n_frames = len(waveform) // HOP
        waveform = waveform[: n_frames * HOP]
        pitch = analyse_pitch(waveform, n_frames, HOP, SAMPLE_RATE)
        with torch.no_grad():
            mel = log_mel(torch.from_numpy(waveform)[None])[0].T.numpy()
        parts["mel"].append(mel.astype(np.float16))
        parts["waveform"].append((waveform * 32767).clip(-32768, 32767).astype(np.int16))
        parts["f0"].append(pitch.f0.astype(np.float32))
        parts["cycles"].append(pitch.cycles)
        bounds.append(bounds[-1] + n_frames)
    for name, arrays in parts.items():
        np.save(folder / f"{name}.npy", np.concatenate(arrays))
    np.save(folder / "bounds.npy", np.array(bounds))
    logger.info("%d utterances, %.1f minutes", len(records), bounds[-1] * HOP / SAMPLE_RATE / 60)
    return VoiceStore(folder)
