"""Speech tokens with the mels they stand for in one voice or several, cached, cut into batches."""

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
from antiphon.training.prefetch import map_ahead
from flow_inference.speakers import DEFAULT_VOICE, orthogonal_speakers
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


def skill_weights(skills: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Weigh utterances (N,) so that a skill comes as often as the root of their number says.

    One by one, the 20 animal sounds would hardly be heard among thousands of phrases to repeat.
    Source: Conneau and Lample 2019 (arXiv 1901.07291), section 3.1, for languages.
    """
    counts = np.bincount(skills)
    return 1.0 / np.sqrt(counts[skills])


def choose(weights: npt.NDArray[np.float64], place: float) -> int:
    """Give the index that a place in [0, 1) falls to where each takes room by its weight, (N,)."""
    ends = np.cumsum(weights)
    return min(int(np.searchsorted(ends, place * ends[-1], side="right")), len(ends) - 1)


class FlowStore:
    """Utterances end to end: codes and mel; the bounds count tokens and frames."""

    def __init__(self, folder: Path) -> None:
        self.codes = np.load(folder / "codes.npy")  # (tokens,) int64
        self.mel = np.load(folder / "mel.npy", mmap_mode="r")  # (frames, 80) float16
        self.token_bounds = np.load(folder / "token_bounds.npy")  # (utterances + 1,)
        self.frame_bounds = np.load(folder / "frame_bounds.npy")  # (utterances + 1,)
        self.mean = torch.from_numpy(np.load(folder / "mean.npy"))  # (80,) of the mel
        self.voices = np.load(folder / "voices.npy")  # (utterances,) int64
        self.speakers = torch.from_numpy(np.load(folder / "speakers.npy"))  # (voices, SPEAKER_DIM)
        self.weights = skill_weights(np.load(folder / "skills.npy"))  # (utterances,)

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
            "embedding": self.speakers[[int(self.voices[cut.utterance]) for cut in cuts]],
        }

    def draw_cuts(
        self, utterances: range, n_items: int, longest: int, generator: torch.Generator
    ) -> list[Cut]:
        """Draw cuts of one length, so that a batch needs no padding.

        A first utterance sets the length, at most `longest` tokens; others are as long or longer.
        A quarter of the cuts begins with its utterance and a quarter ends with it. Utterances of
        skills with few different answers come more often than one by one (`skill_weights`).
        """
        lengths = self.n_tokens[utterances.start : utterances.stop]
        weights = self.weights[utterances.start : utterances.stop]
        draws = torch.rand(n_items + 1, _DRAWS_PER_ITEM, generator=generator).tolist()
        n_tokens = min(longest, int(lengths[choose(weights, draws[-1][0])]))
        fitting = np.flatnonzero(lengths >= n_tokens)
        cuts = []
        for which, where, edge in draws[:-1]:
            index = int(fitting[choose(weights[fitting], which)])
            room = int(lengths[index]) - n_tokens
            first = int(where * (room + 1))
            if edge < _EDGE_SHARE:
                first = 0
            elif edge > 1 - _EDGE_SHARE:
                first = room
            cuts.append(Cut(utterances.start + index, first, n_tokens))
        return cuts


@dataclass(frozen=True)
class Pair:
    """Tokens (T,) and the utterance whose mel they shall give, in the voice of that number."""

    tokens: npt.NDArray[np.int64]
    record: Record
    voice: int


@dataclass(frozen=True)
class FlowSource:
    """What a decoder is trained on.

    Attributes:
        data: Folder of the corpus and its codes.
        voice: The synthesiser's voice, of a corpus with one output voice.
        output_voices: The output voices, of a corpus with several; `voice` does not count then.
        limit: Most utterances of a voice.
        vocab_size: Number of speech tokens.
        n_workers: Processes that analyse; 0 does it in this one.
    """

    data: str
    voice: str
    output_voices: tuple[str, ...]
    limit: int
    vocab_size: int
    n_workers: int = 0

    def speakers(self) -> dict[str, Tensor]:
        """Speaker vector (SPEAKER_DIM,) of each voice, zeros for a single one."""
        if not self.output_voices:
            return {DEFAULT_VOICE: torch.zeros(SPEAKER_DIM)}
        return orthogonal_speakers(self.output_voices, SPEAKER_DIM)


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


def pairs_of_voices(
    corpus: SpeechCorpus, codes: dict[str, npt.NDArray[np.int16]], source: FlowSource
) -> list[Pair]:
    """Pair the answers of each output voice with their own tokens and with the usual voice's.

    The language model speaks with the usual voice's tokens, whatever voice they are to be heard
    in; where a text lasts equally long in both, the one's tokens stand for the other's mel.

    Raises:
        ConfigError: If a voice has no answers with tokens.
    """
    pairs: list[Pair] = []
    for number, voice in enumerate(source.output_voices):
        spoken = [r for r in corpus.select(None) if r.output == voice]
        records = [r for r in spoken if len(codes.get(r.id, ())) > 1][: source.limit]
        if not records:
            raise ConfigError(
                f"the corpus has {len(spoken)} answers in the output voice {voice}, none with "
                "speech tokens; check `output_voices` or run `antiphon train codes` first"
            )
        for record in records:
            own = codes[record.id].astype(np.int64)
            pairs.append(Pair(own, record, number))
            usual = codes.get(record.id.partition(".")[0], own).astype(np.int64)
            n_common = min(len(own), len(usual))
            if record.role == "voice" and abs(len(own) - len(usual)) <= 1 < n_common:
                pairs.append(Pair(usual[:n_common], record, number))
    rng = np.random.default_rng(0)
    return [pairs[place] for place in rng.permutation(len(pairs))]


def pair_mel(job: tuple[npt.NDArray[np.float32], int]) -> npt.NDArray[np.float16]:
    """Analyse a waveform at the corpus's rate for its number of tokens."""
    waveform, n_tokens = job
    return token_mel(resample(waveform, CORPUS_RATE, SAMPLE_RATE), n_tokens)


def build_flow_store(source: FlowSource, folder: Path) -> FlowStore:
    """Prepare the answers to learn from, or open what an earlier call prepared.

    Raises:
        ConfigError: If the corpus has no answers with tokens in a voice, or tokens do not fit.
    """
    if all((folder / f"{name}.npy").exists() for name in ("skills", "frame_bounds")):
        return FlowStore(folder)
    corpus, codes = SpeechCorpus(source.data), CodeStore(source.data).load()
    if source.output_voices:
        pairs = pairs_of_voices(corpus, codes, source)
    else:
        chosen = choose_records(corpus, codes, source.voice, source.limit)
        pairs = [Pair(codes[record.id].astype(np.int64), record, 0) for record in chosen]
    largest = max(int(pair.tokens.max()) for pair in pairs)
    if largest >= source.vocab_size:
        raise ConfigError(
            f"speech tokens go up to {largest}, but vocab_size is {source.vocab_size}"
        )
    jobs = ((corpus.waveform(pair.record), len(pair.tokens)) for pair in pairs)
    mels = list(map_ahead(pair_mel, jobs, source.n_workers))
    folder.mkdir(parents=True, exist_ok=True)
    mel = np.concatenate(mels)
    np.save(folder / "codes.npy", np.concatenate([pair.tokens for pair in pairs]))
    np.save(folder / "mel.npy", mel)
    np.save(folder / "mean.npy", mel.mean(0, dtype=np.float64).astype(np.float32))
    np.save(folder / "voices.npy", np.array([pair.voice for pair in pairs]))
    skills = [f"{pair.record.skill} {pair.record.language}" for pair in pairs]
    np.save(folder / "skills.npy", np.unique(skills, return_inverse=True)[1])
    np.save(folder / "speakers.npy", torch.stack(list(source.speakers().values())).numpy())
    np.save(folder / "token_bounds.npy", np.cumsum([0, *(len(pair.tokens) for pair in pairs)]))
    np.save(folder / "frame_bounds.npy", np.cumsum([0, *map(len, mels)]))
    logger.info("%d utterances, %.1f minutes", len(pairs), len(mel) * HOP / SAMPLE_RATE / 60)
    return FlowStore(folder)
