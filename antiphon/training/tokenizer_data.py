"""Batches of speech for the tokenizer: read, made less clean, turned into features, partly blanked.

Knows no model.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from antiphon.training.augment import augment
from antiphon.training.corpus_plan import RESERVED
from antiphon.training.data import Record, SpeechCorpus, length_batches
from antiphon.training.voices import OUTPUT_VOICES
from speech_tokenizer.features import log_mel_spectrogram

SAMPLES_PER_TOKEN = 1280
HOP = 160
AUGMENTED_SHARE = 0.8
WARPED_SHARE = 0.4
MAX_WARP = 0.12
ANSWERING = ("answer", "voice")
UNDERSTOOD = ("en", "zh", "")  # languages of the recogniser; "" is noise, which has no words
VOICE_NUMBERS = {name: number for number, name in enumerate(OUTPUT_VOICES)}


@dataclass
class Batch:
    """What one step learns from.

    Attributes:
        features: (B, n_mels, T) log mel, perhaps with parts blanked.
        mask: (B, T) real frames.
        texts: What is said.
        wanted: (B, n_mels, T) log mel with nothing blanked.
        is_answer: (B,) rows in an output voice, whose mel is learned.
        voice: (B,) number of that voice.
    """

    features: Tensor
    mask: Tensor
    texts: list[str]
    wanted: Tensor
    is_answer: Tensor
    voice: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Move it to a device."""
        return Batch(
            self.features.to(device),
            self.mask.to(device),
            self.texts,
            self.wanted.to(device),
            self.is_answer.to(device),
            self.voice.to(device),
        )


@dataclass(frozen=True)
class Acoustics:
    """How speech is made less clean.

    Attributes:
        strength: Factor on the probability of each acoustic effect; 0 leaves everything clean.
        is_wide: Whether the wide set of effects and vocal tracts of other lengths are used.
    """

    strength: float = 0.5
    is_wide: bool = False


def collate(waveforms: list[np.ndarray], n_mels: int, texts: list[str]) -> Batch:
    """Pad waveforms to whole tokens and turn them into features with their mask."""
    longest = max(len(w) for w in waveforms)
    size = -(-longest // SAMPLES_PER_TOKEN) * SAMPLES_PER_TOKEN
    padded = torch.zeros(len(waveforms), size)
    mask = torch.zeros(len(waveforms), size // HOP, dtype=torch.bool)
    for row, waveform in enumerate(waveforms):
        padded[row, : len(waveform)] = torch.from_numpy(waveform)
        mask[row, : -(-len(waveform) // HOP)] = True
    features = log_mel_spectrogram(padded, n_mels)
    nobody = torch.zeros(len(waveforms), dtype=torch.long)
    return Batch(features, mask, texts, features, nobody.bool(), nobody)


def mask_features(batch: Batch, generator: torch.Generator) -> Batch:
    """SpecAugment (arXiv 1904.08779): blank one mel band and two short stretches of time."""
    features = batch.features.clone()
    n_items, n_mels, n_frames = features.shape
    draws = torch.rand(n_items, 6, generator=generator)
    for row in range(n_items):
        low, width = int(draws[row, 0] * n_mels), int(draws[row, 1] * n_mels * 0.18)
        features[row, low : low + width] = 0.0
        for first, length in ((2, 3), (4, 5)):
            start, span = int(draws[row, first] * n_frames), int(draws[row, length] * 14)
            features[row, :, start : start + span] = 0.0
    return replace(batch, features=features)


def warp_vocal_tract(batch: Batch, generator: torch.Generator) -> Batch:
    """Stretch or press the mel axis of some rows, as a shorter or longer vocal tract does.

    Source: Jaitly and Hinton 2013 (vocal tract length perturbation), here on mel channels, which
    lie near enough to a logarithm of frequency for a shift in proportion to the channel. Rows in an
    output voice stay: their mel is to be told.
    """
    features = batch.features.clone()
    n_mels = features.shape[1]
    channels = torch.arange(n_mels, dtype=torch.float32)
    draws = torch.rand(len(features), 2, generator=generator)
    for row in torch.nonzero((draws[:, 0] < WARPED_SHARE) & ~batch.is_answer).flatten().tolist():
        place = channels * (1 + MAX_WARP * (2 * draws[row, 1] - 1))
        place = place.clamp(max=n_mels - 1)
        low = place.floor().long()
        high, share = (low + 1).clamp(max=n_mels - 1), (place - low)[:, None]
        original = batch.features[row]
        features[row] = original[low] * (1 - share) + original[high] * share
    return replace(batch, features=features)


def figure_name(record: Record) -> str | None:
    """Name the error rate that a held-out question counts for; None if nobody could write it down.

    "valid_cer" is English in training voices; in voices kept for testing it is "reserved_cer"
    (espeak-ng) or "reserved_cer_rms" (a person's); Mandarin has names ending in "_zh".
    """
    if record.language == "zh":
        return f"{record.split}_cer_zh"
    if record.language != "en":
        return None
    is_recorded = record.split == RESERVED and record.voice.startswith("flite:")
    return f"{record.split}_cer{'_rms' if is_recorded else ''}"


def validation_groups(corpus: SpeechCorpus) -> dict[str, list[Record]]:
    """Sort the held-out questions by the name of their error rate (see `figure_name`)."""
    groups: dict[str, list[Record]] = {}
    for record in (*corpus.select("question", "valid"), *corpus.select("question", RESERVED)):
        if name := figure_name(record):
            groups.setdefault(name, []).append(record)
    return groups


class BatchSource:
    """Reads, changes and featurises batches of a corpus.

    Args:
        data: Folder of the corpus.
        n_mels: Mel channels.
        acoustics: How speech is made less clean.
    """

    def __init__(self, data: str, n_mels: int, acoustics: Acoustics) -> None:
        self.data, self.n_mels, self.acoustics = data, n_mels, acoustics
        self.corpus = SpeechCorpus(data)

    def reopen(self) -> list[Record]:
        """Read the corpus anew, as it may still grow; lists what is to be learned from."""
        self.corpus = SpeechCorpus(self.data)
        return [r for r in self.corpus.select() if r.language in UNDERSTOOD]

    def heard(self, record: Record, rng: np.random.Generator) -> np.ndarray:
        """Read one utterance, perhaps made less clean."""
        waveform = self.corpus.waveform(record)
        if self.acoustics.strength <= 0 or record.role in ANSWERING:
            return waveform
        if rng.uniform() >= AUGMENTED_SHARE:
            return waveform
        return augment(waveform, rng, self.acoustics.strength, self.acoustics.is_wide)

    def prepare(self, records: list[Record], rng: np.random.Generator) -> Batch:
        """Read, change and featurise one batch."""
        waveforms = [self.heard(record, rng) for record in records]
        batch = collate(waveforms, self.n_mels, [record.text for record in records])
        return replace(
            batch,
            is_answer=torch.tensor([r.role in ANSWERING for r in records]),
            voice=torch.tensor([VOICE_NUMBERS.get(r.output, 0) for r in records]),
        )

    def finish(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Warp and blank parts of the features."""
        if self.acoustics.is_wide:
            batch = warp_vocal_tract(batch, generator)
        return mask_features(batch, generator)


@dataclass(frozen=True)
class TokenizerBatches:
    """Batches for ever, drawn anew from a seed; made in worker processes.

    Attributes:
        data: Folder of the corpus.
        n_mels: Mel channels.
        acoustics: How speech is made less clean.
        batch_s: Seconds of padded audio in a batch.
        reopen_every: Batches after which the corpus is read anew.
    """

    data: str
    n_mels: int
    acoustics: Acoustics
    batch_s: float
    reopen_every: int = 100

    def __call__(self, seed: int) -> Iterator[Batch]:
        """Yield batches."""
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        source = BatchSource(self.data, self.n_mels, self.acoustics)
        while True:
            chosen = length_batches(source.reopen(), self.batch_s, rng)
            for _ in range(self.reopen_every):
                yield source.finish(source.prepare(next(chosen), rng), generator)
