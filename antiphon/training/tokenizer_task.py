"""Trains the speech tokenizer through speech recognition, with the codes in the middle.

Beside the characters each code has to tell the phones said around it and, in the output voice,
the mel of its own 80 ms, so that a decoder can make sound of it again.

Source: GLM-4-Voice report (arXiv 2412.02612), section on the speech tokenizer: a Whisper encoder
with a pooling and a quantiser in the middle, trained on recognition; EMA codebook after VQ-VAE
(arXiv 1711.00937, appendix A). Here CTC takes the place of the attention decoder.
"""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from antiphon.checkpoints import load_safetensors
from antiphon.errors import CheckpointError
from antiphon.training.code_heads import MelHead, PhoneHead, mel_loss
from antiphon.training.data import Record, length_batches
from antiphon.training.domain.table import SMALL, find_domain
from antiphon.training.local_attention import look_nearby
from antiphon.training.optimizers import build_optimizer
from antiphon.training.prefetch import prefetch
from antiphon.training.pronunciation import (
    N_BILINGUAL_PHONES,
    N_PHONES,
    bilingual_phone_labels,
    phone_labels,
)
from antiphon.training.recogniser import (
    BILINGUAL,
    ENGLISH,
    RECOGNISER_FILE,
    CodeRecogniser,
    count_errors,
    ctc_loss,
    save_recogniser,
    text_to_labels,
)
from antiphon.training.shards import save_shards
from antiphon.training.task import Losses, TrainingTask, load_started, seeded, train_together
from antiphon.training.tokenizer_config import TokenizerTaskConfig, encoder_config
from antiphon.training.tokenizer_data import (
    Acoustics,
    Batch,
    BatchSource,
    TokenizerBatches,
    validation_groups,
)
from antiphon.training.voices import OUTPUT_VOICES
from speech_tokenizer.modeling_whisper import WhisperVQEncoder
from speech_tokenizer.weights import load_encoder

logger = logging.getLogger(__name__)

HOP = 160
REOPEN_EVERY = 400
N_VALID = 160
POSITION_SCALE = 0.1
LAST_RESTART = 0.9  # after that share of the run codes stay where they are


class TokenizerModel(nn.Module):
    """Encoder, codes, recogniser, and the heads that keep codes to their own sound."""

    def __init__(self, config: TokenizerTaskConfig) -> None:
        super().__init__()
        self.encoder = WhisperVQEncoder(encoder_config(config))
        is_small = find_domain(config.domain).name == SMALL
        alphabet = ENGLISH if is_small else BILINGUAL
        self.recogniser = CodeRecogniser(config.d_model, alphabet, dropout=config.dropout)
        if config.look_nearby:
            look_nearby(self.encoder, config.look_nearby)
        self.phones = PhoneHead(config.d_model, N_PHONES if is_small else N_BILINGUAL_PHONES)
        n_voices = 1 if is_small else len(OUTPUT_VOICES)
        self.mel = MelHead(config.d_model, config.n_mels, n_voices)
        self.spell = phone_labels if is_small else bilingual_phone_labels

    def states(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Hidden states before the codes (B, T, D) and their mask (B, T)."""
        return self.encoder.hidden_before_vq(batch.features, batch.mask)


class TokenizerTask(TrainingTask[TokenizerTaskConfig]):
    """State of one training run."""

    longest_gradient = 2.0
    model: TokenizerModel

    def __init__(self, config: TokenizerTaskConfig) -> None:
        super().__init__(config)
        self.rng = np.random.default_rng(config.seed)
        with seeded(config.seed):
            self.model = TokenizerModel(config).to(self.device)
        positions = self.model.encoder.embed_positions.weight
        with torch.no_grad():
            positions.mul_(POSITION_SCALE)
        positions.requires_grad_(
            False
        )  # so that places later than any training clip keep their meaning
        self.optimizer = build_optimizer(self.model, config.learning_rate, config.use_muon)
        self.is_quantised = False
        self.acoustics = Acoustics(config.augment_strength, config.is_wide)
        self.source = BatchSource(config.data, config.n_mels, self.acoustics)
        self.clean = BatchSource(config.data, config.n_mels, Acoustics(0.0))
        self.waiting = self.batches()
        self.is_used = torch.zeros(config.codebook_size, dtype=torch.bool, device=self.device)

    def state(self) -> dict[str, object]:
        """What a checkpoint holds."""
        return {**super().state(), "is_quantised": self.is_quantised}

    def load_state(self, state: dict[str, object]) -> None:
        """Take up a checkpoint's state."""
        super().load_state(state)
        self.is_quantised = bool(state["is_quantised"])

    def start_from(self, folder: Path) -> None:
        """Take an exported encoder, its codes unless they shall be new, and its recogniser.

        Raises:
            CheckpointError: If it is of another size, or pools after another layer.
        """
        encoder = load_encoder(folder, self.device)
        load_started(self.model.encoder, encoder.state_dict(), folder)
        n_fast = encoder.config.pooling_position
        if n_fast != self.model.encoder.config.pooling_position:
            raise CheckpointError(
                f"start={folder} pools after {n_fast} layers; set n_fast_layers={n_fast}"
            )
        half = load_safetensors(folder / RECOGNISER_FILE)
        state = {key: value.float() for key, value in half.items()}
        load_started(self.model.recogniser, state, folder)
        self.is_quantised = not self.config.new_codes

    def reseed(self, seed: int) -> None:
        """Draw differently from here on."""
        super().reseed(seed)
        self.rng = np.random.default_rng(seed)

    def batches(self) -> Iterator[Batch]:
        """Yield training batches for ever, made ahead; the corpus is read anew now and then."""
        config = self.config
        if config.n_loaders:
            made = TokenizerBatches(config.data, config.n_mels, self.acoustics, config.batch_s)
            yield from prefetch(made, config.n_loaders, config.seed + self.run.step)
        with ThreadPoolExecutor(1) as pool:
            while True:
                source = length_batches(self.source.reopen(), config.batch_s, self.rng)
                waiting = pool.submit(self.source.prepare, next(source), self.rng)
                for _ in range(REOPEN_EVERY):
                    batch = waiting.result()
                    waiting = pool.submit(self.source.prepare, next(source), self.rng)
                    yield self.source.finish(batch, self.generator)
                waiting.result()

    def next_batch(self) -> Batch:
        """The next training batch on the run's device."""
        return next(self.waiting).to(self.device)

    def followed(self) -> tuple[Tensor, ...]:
        """The codebook, which moves by averages of each process's own batches."""
        encoder = self.model.encoder
        return encoder.codebook.weight, encoder.ema_weight, encoder.ema_count

    def before_step(self) -> None:
        """Switch the codes on when it is time."""
        if not self.is_quantised and self.progress >= self.config.quantise_from:
            self.start_codes()

    def start_codes(self) -> None:
        """Set the codebook from hidden states of twenty batches, refined by k-means."""
        states = []
        with torch.no_grad(), self.autocast():
            for _ in range(20):
                hidden, mask = self.model.states(self.next_batch())
                states.append(hidden.float()[mask])
        points = torch.cat(states)
        picks = torch.randperm(len(points), generator=self.generator)[: self.config.codebook_size]
        centres = points[picks.to(points.device)]
        for _ in range(8):
            ids = torch.cdist(points, centres).argmin(-1)
            sums = torch.zeros_like(centres).index_add_(0, ids, points)
            counts = torch.bincount(ids, minlength=len(centres)).float()
            centres = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), centres)
        encoder = self.model.encoder
        with torch.no_grad():
            encoder.codebook.weight.copy_(centres)
            encoder.ema_weight.copy_(centres)
            encoder.ema_count.fill_(1.0)
        self.is_quantised = True
        logger.info("codes are on: %d centres from %d states", len(centres), len(points))

    def quantise(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Replace states by their codes, straight-through.

        Returns:
            Quantised states (B, T, D), the commitment loss, and ids of the valid positions (n,).
        """
        valid = hidden.float()[mask]
        quantizer = self.model.encoder.quantizer
        with torch.no_grad():
            ids = quantizer.nearest(valid)
            codes = self.model.encoder.codebook.weight[ids]
        scale = valid.detach().var() + 1e-6
        commitment = ((valid - codes) ** 2).mean() / scale
        out = hidden.float().clone()
        out[mask] = valid + (codes - valid).detach()
        if self.model.training:
            with torch.no_grad():
                quantizer.update(valid.detach(), ids, self.config.ema_decay)
                if self.run.step % 50 == 0 and self.progress < LAST_RESTART:
                    quantizer.restart_dead(valid.detach(), 0.05, self.generator)
        return out, commitment, ids

    def losses(self) -> Losses:
        """Losses of the next batch, and how many codes it used."""
        batch = self.next_batch()
        with self.autocast():
            hidden, mask = self.model.states(batch)
            commitment, n_used = hidden.new_zeros(()), 0
            if self.is_quantised:
                hidden, commitment, ids = self.quantise(hidden, mask)
                n_used = len(ids.unique())
                self.is_used[ids] = True
            log_probabilities = self.model.recogniser(hidden, mask)
            log_phones = self.model.phones(hidden, mask)
            mel = self.model.mel(hidden, mask, batch.voice)
        labels = [text_to_labels(text, self.model.recogniser.alphabet) for text in batch.texts]
        ctc = ctc_loss(log_probabilities, mask, labels)
        phones = ctc_loss(log_phones, mask, [self.model.spell(text) for text in batch.texts])
        spoken = mel_loss(mel, batch.wanted, mask & batch.is_answer[:, None])
        weights = self.config
        return {
            "total": ctc
            + weights.phone_weight * phones
            + weights.mel_weight * spoken
            + weights.commitment * commitment,
            "ctc": ctc,
            "phones": phones,
            "mel": spoken,
            "codes_in_batch": torch.tensor(float(n_used)),
        }

    def validate(self) -> dict[str, float]:
        """CER of held-out questions by language and group of voices, and the use of the codes."""
        self.clean.reopen()
        figures = {
            name: self.character_error_rate(records)
            for name, records in validation_groups(self.clean.corpus).items()
        }
        if self.is_quantised and self.is_used.any():
            figures["code_use"] = float(self.is_used.float().mean())  # since the last validation
            self.is_used.zero_()
        return figures

    def character_error_rate(self, records: list[Record]) -> float:
        """Greedy CER over the first clean records, through the codes when they are on."""
        errors = total = 0
        alphabet = self.model.recogniser.alphabet
        for first in range(0, min(len(records), N_VALID), 32):
            batch = self.clean.prepare(records[first : first + 32], self.rng).to(self.device)
            with self.autocast():
                hidden, mask = self.model.states(batch)
                if self.is_quantised:
                    hidden, _, _ = self.quantise(hidden, mask)
                texts = self.model.recogniser.transcribe(hidden, mask)
            found = count_errors(zip(batch.texts, texts, strict=True), alphabet)
            errors, total = errors + found[0], total + found[1]
        return errors / max(1, total)

    def export(self) -> None:
        """Write the tokenizer in the official files, and the recogniser half beside it."""
        out = Path(self.config.out)
        out.mkdir(parents=True, exist_ok=True)
        encoder = self.model.encoder
        described = {
            "architectures": ["WhisperVQEncoder"],
            "model_type": "whisper",
            **encoder.config.to_dict(),
        }
        (out / "config.json").write_text(json.dumps(described, indent=2) + "\n")
        features = {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": self.config.n_mels,
            "sampling_rate": 16_000,
            "n_fft": 400,
            "hop_length": HOP,
            "chunk_length": 30,
            "n_samples": 480_000,
            "nb_max_frames": 3000,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": False,
        }
        (out / "preprocessor_config.json").write_text(json.dumps(features, indent=2) + "\n")
        tensors = {
            key: value.detach().cpu().contiguous() for key, value in encoder.state_dict().items()
        }
        save_shards(tensors, out)
        save_recogniser(self.model.recogniser, out)
        logger.info("tokenizer written to %s", out)


def train(config: TokenizerTaskConfig) -> None:
    """Train the speech tokenizer described by `config` and export it.

    Raises:
        ConfigError: If several processes are to learn on anything but a processor.
    """
    train_together(TokenizerTask, config, config.n_processes)
