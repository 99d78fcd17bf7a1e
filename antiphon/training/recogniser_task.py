"""Trains the reading half of a finished tokenizer on: codes are given, words come out.

The encoder is through with learning when the codes are final, and costs most of a step. Alone its
other half sees the whole corpus again in minutes, each utterance as it was heard in several places.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from antiphon.checkpoints import load_safetensors
from antiphon.errors import ConfigError
from antiphon.training.data import (
    Codes,
    CodeStore,
    Record,
    SpeechCorpus,
    length_batches,
    versions_of,
)
from antiphon.training.optimizers import build_optimizer
from antiphon.training.recogniser import (
    RECOGNISER_FILE,
    CodeRecogniser,
    alphabet_of,
    count_errors,
    ctc_loss,
    save_recogniser,
    text_to_labels,
)
from antiphon.training.task import Losses, TaskConfig, TrainingTask, load_started
from antiphon.training.tokenizer_data import UNDERSTOOD, validation_groups
from speech_tokenizer.weights import load_encoder

logger = logging.getLogger(__name__)

READ_AT_ONCE = 64


@dataclass(frozen=True)
class RecogniserTaskConfig(TaskConfig):
    """How the reading half is trained on.

    Attributes:
        out: The tokenizer whose half it is; read at the beginning, written at the end.
        batch_s: Seconds of padded speech in a batch.
        dropout: Of the recogniser.
        noise: Share of codes that another, drawn at random, takes the place of.
        use_muon: Whether the layers' matrices are learned with Muon in place of AdamW.
    """

    run: str = "runs/recogniser"
    out: str = "resources/embedded/tokenizer"
    minutes: float = 30.0
    learning_rate: float = 1e-3
    batch_s: float = 120.0
    dropout: float = 0.1
    noise: float = 0.04
    use_muon: bool = False


@dataclass(frozen=True)
class ReadBatch:
    """Codes (B, T), which of them are real (B, T), and what they say."""

    codes: Tensor
    mask: Tensor
    texts: list[str]


def collate_codes(rows: Sequence[Codes], texts: Sequence[str]) -> ReadBatch:
    """Pad rows of codes to the longest."""
    codes = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros(codes.shape, dtype=torch.bool)
    for number, row in enumerate(rows):
        codes[number, : len(row)] = torch.from_numpy(row.astype(np.int64))
        mask[number, : len(row)] = True
    return ReadBatch(codes, mask, list(texts))


class RecogniserTask(TrainingTask[RecogniserTaskConfig]):
    """State of one training run."""

    model: CodeRecogniser

    def __init__(self, config: RecogniserTaskConfig) -> None:
        super().__init__(config)
        self.rng = np.random.default_rng(config.seed)
        self.codebook = load_encoder(Path(config.out), self.device).codebook.weight.detach().float()
        half = load_safetensors(Path(config.out) / RECOGNISER_FILE)
        alphabet = alphabet_of(len(half["head.bias"]))
        self.model = CodeRecogniser(self.codebook.shape[1], alphabet, dropout=config.dropout)
        self.model.to(self.device)
        self.start_from(Path(config.out))
        self.optimizer = build_optimizer(self.model, config.learning_rate, config.use_muon)
        corpus = SpeechCorpus(config.data)
        self.versions = versions_of(CodeStore(config.data).load())
        self.held_out = {
            name: [record for record in records if record.id in self.versions]
            for name, records in validation_groups(corpus).items()
        }
        self.records = [
            record
            for record in corpus.select()
            if record.language in UNDERSTOOD and record.id in self.versions
        ]
        if not self.records:
            raise ConfigError(
                f"no speech tokens in {config.data}: run `antiphon train codes` first"
            )
        self.waiting = self.batches()

    def start_from(self, folder: Path) -> None:
        """Take the reading half of a tokenizer."""
        half = load_safetensors(folder / RECOGNISER_FILE)
        load_started(self.model, {key: value.float() for key, value in half.items()}, folder)

    def reseed(self, seed: int) -> None:
        """Draw differently from here on."""
        super().reseed(seed)
        self.rng = np.random.default_rng(seed)
        self.waiting = self.batches()

    def batches(self) -> Iterator[ReadBatch]:
        """Yield training batches for ever; of what was heard several times any is drawn."""
        for records in length_batches(self.records, self.config.batch_s, self.rng):
            rows = [self.disturbed(self.drawn(record)) for record in records]
            yield collate_codes(rows, [record.text for record in records])

    def drawn(self, record: Record) -> Codes:
        """Draw one hearing of an utterance."""
        versions = self.versions[record.id]
        return versions[int(self.rng.integers(len(versions)))]

    def disturbed(self, codes: Codes) -> Codes:
        """Put other codes in some places."""
        other = self.rng.integers(len(self.codebook), size=len(codes)).astype(np.int16)
        return np.where(self.rng.uniform(size=len(codes)) < self.config.noise, other, codes)

    def states(self, batch: ReadBatch) -> tuple[Tensor, Tensor]:
        """What the reading half sees: (B, T, D) and the mask (B, T)."""
        return self.codebook[batch.codes.to(self.device)], batch.mask.to(self.device)

    def losses(self) -> Losses:
        """CTC loss a letter of the next batch."""
        batch = next(self.waiting)
        with self.autocast():
            log_probabilities = self.model(*self.states(batch))
        labels = [text_to_labels(text, self.model.alphabet) for text in batch.texts]
        return {"total": ctc_loss(log_probabilities, batch.mask, labels)}

    def validate(self) -> dict[str, float]:
        """Character error rate of held-out questions by language and group of voices."""
        return {name: self.character_error_rate(records) for name, records in self.held_out.items()}

    def character_error_rate(self, records: Sequence[Record]) -> float:
        """Greedy CER of what was heard first of each."""
        errors = total = 0
        for first in range(0, len(records), READ_AT_ONCE):
            chosen = records[first : first + READ_AT_ONCE]
            rows = [self.versions[record.id][0] for record in chosen]
            batch = collate_codes(rows, [record.text for record in chosen])
            read = self.model.transcribe(*self.states(batch))
            found = count_errors(zip(batch.texts, read, strict=True), self.model.alphabet)
            errors, total = errors + found[0], total + found[1]
        return errors / max(1, total)

    def export(self) -> None:
        """Write the reading half beside its tokenizer; the tokenizer itself stays as it is."""
        save_recogniser(self.model, Path(self.config.out))
        logger.info("reading half written to %s", self.config.out)


def train(config: RecogniserTaskConfig) -> None:
    """Train the reading half described by `config` and export it."""
    RecogniserTask(config).train()
