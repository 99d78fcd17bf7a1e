"""Speech tokens of one voice with the mels they stand for, cached on disk and cut into batches."""

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
from antiphon.training.data import CodeStore, Record, SpeechCorpus
from antiphon.training.decoder_config import N_MELS, SAMPLE_RATE, SPEAKER_DIM
from matcha.utils.audio import mel_spectrogram

logger = logging.getLogger(__name__)

HOP = 256
N_FFT = 1024
HIGHEST_HZ = 8000
_FRAMES_NUMERATOR, _FRAMES_DENOMINATOR = 441, 64  # mel frames a token: 22,050 / 256 / 12.5
_EDGE_SHARE = 0.25
_DRAWS_PER_ITEM = 3


def mel_frames(n_tokens: int) -> int:
    """Whole mel frames that so many tokens last."""
    return n_tokens * _FRAMES_NUMERATOR // _FRAMES_DENOMINATOR


def token_mel(waveform: npt.NDArray[np.float32], n_tokens: int) -> npt.NDArray[np.float16]:
    """Analyse a waveform at 22,050 Hz, brought to the length of its tokens: (n_frames, 80)."""
    n_samples = mel_frames(n_tokens) * HOP
    fitted = np.zeros(n_samples, dtype=np.float32)
    n_kept = min(n_samples, len(waveform))
    fitted[:n_kept] = waveform[:n_kept]
    mel = mel_spectrogram(
        torch.from_numpy(fitted)[None], N_FFT, N_MELS, SAMPLE_RATE, HOP, N_FFT, 0, HIGHEST_HZ
    )
    return mel[0].T.numpy().astype(np.float16)


@dataclass(frozen=True)
class Cut:
    """Tokens [first, first + n) of an utterance."""

    utterance: int
    first: int
    n: int


class FlowStore:
    """Utterances end to end: codes and mel; the bounds count tokens and frames."""

    def __init__(self, folder: Path) -> None:
        self.codes = np.load(folder / "codes.npy")  # (tokens,) int64
        self.mel = np.load(folder / "mel.npy", mmap_mode="r")  # (frames, 80) float16
        self.token_bounds = np.load(folder / "token_bounds.npy")  # (utterances + 1,)
        self.frame_bounds = np.load(folder / "frame_bounds.npy")  # (utterances + 1,)
        self.mean = torch.from_numpy(np.load(folder / "mean.npy"))  # (80,) of the mel

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.token_bounds) - 1

    @property
    def n_tokens(self) -> npt.NDArray[np.int64]:
        """Length of each utterance in tokens, (utterances,)."""
        return np.diff(self.token_bounds)

    def cut_codes(self, cut: Cut) -> npt.NDArray[np.int64]:
        """Read the tokens of a cut, (n,)."""
        start = int(self.token_bounds[cut.utterance]) + cut.first
        return self.codes[start : start + cut.n]

    def cut_mel(self, cut: Cut) -> npt.NDArray[np.float32]:
        """Read the mel of a cut, (mel_frames(n), 80)."""
        start = int(self.frame_bounds[cut.utterance]) + mel_frames(cut.first)
        return self.mel[start : start + mel_frames(cut.n)].astype(np.float32)

    def batch(self, cuts: list[Cut]) -> dict[str, Tensor]:
        """Stack cuts of the same length as the decoder's training batch."""
        n_tokens = cuts[0].n
        return {
            "speech_token": torch.from_numpy(np.stack([self.cut_codes(cut) for cut in cuts])),
            "speech_token_len": torch.full((len(cuts),), n_tokens),
            "speech_feat": torch.from_numpy(np.stack([self.cut_mel(cut) for cut in cuts])),
            "speech_feat_len": torch.full((len(cuts),), mel_frames(n_tokens)),
            "embedding": torch.zeros(len(cuts), SPEAKER_DIM),
        }

    def draw_cuts(
        self, utterances: range, n_items: int, longest: int, generator: torch.Generator
    ) -> list[Cut]:
        """Draw cuts of one length, so that a batch needs no padding.

        A first utterance sets the length, at most `longest` tokens; others are as long or longer.
        A quarter of the cuts begins with its utterance and a quarter ends with it.
        """
        lengths = self.n_tokens[utterances.start : utterances.stop]
        draws = torch.rand(n_items + 1, _DRAWS_PER_ITEM, generator=generator).tolist()
        n_tokens = min(longest, int(lengths[int(draws[-1][0] * len(lengths))]))
        fitting = np.flatnonzero(lengths >= n_tokens)
        cuts = []
        for which, where, edge in draws[:-1]:
            index = int(fitting[int(which * len(fitting))])
            room = int(lengths[index]) - n_tokens
            first = int(where * (room + 1))
            if edge < _EDGE_SHARE:
                first = 0
            elif edge > 1 - _EDGE_SHARE:
                first = room
            cuts.append(Cut(utterances.start + index, first, n_tokens))
        return cuts


def choose_records(
    corpus: SpeechCorpus, codes: dict[str, npt.NDArray[np.int16]], voice: str, limit: int
) -> list[Record]:
    """List the answers of one voice that have tokens.

    Raises:
        ConfigError: If there are none.
    """
    spoken = [record for record in corpus.select("answer") if record.voice == voice]
    records = [record for record in spoken if len(codes.get(record.id, ())) > 1][:limit]
    if not records:
        raise ConfigError(
            f"the corpus has {len(spoken)} answers in the voice {voice}, none with speech tokens; "
            "check `voice` or run `antiphon train codes` first"
        )
    return records


def build_flow_store(
    data: str | Path, voice: str, limit: int, vocab_size: int, folder: Path
) -> FlowStore:
    """Prepare the answers of one voice, or open what an earlier call prepared.

    Raises:
        ConfigError: If the corpus has no answers with tokens in this voice, or tokens do not fit.
    """
    if (folder / "frame_bounds.npy").exists():
        return FlowStore(folder)
    corpus, codes = SpeechCorpus(data), CodeStore(data).load()
    records = choose_records(corpus, codes, voice, limit)
    kept = [codes[record.id].astype(np.int64) for record in records]
    largest = max(int(tokens.max()) for tokens in kept)
    if largest >= vocab_size:
        raise ConfigError(f"speech tokens go up to {largest}, but vocab_size is {vocab_size}")
    mels = [
        token_mel(resample(corpus.waveform(record), CORPUS_RATE, SAMPLE_RATE), len(tokens))
        for record, tokens in zip(records, kept, strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    mel = np.concatenate(mels)
    np.save(folder / "codes.npy", np.concatenate(kept))
    np.save(folder / "mel.npy", mel)
    np.save(folder / "mean.npy", mel.mean(0, dtype=np.float64).astype(np.float32))
    np.save(folder / "token_bounds.npy", np.cumsum([0, *map(len, kept)]))
    np.save(folder / "frame_bounds.npy", np.cumsum([0, *map(len, mels)]))
    logger.info("%d utterances, %.1f minutes", len(kept), len(mel) * HOP / SAMPLE_RATE / 60)
    return FlowStore(folder)
