"""Trains the speech tokenizer through speech recognition, with the codes in the middle.

Source: GLM-4-Voice report (arXiv 2412.02612), section on the speech tokenizer: a Whisper encoder
with a pooling and a quantiser in the middle, trained on recognition; EMA codebook after VQ-VAE
(arXiv 1711.00937, appendix A). Here CTC takes the place of the attention decoder.
"""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from antiphon.training.augment import augment
from antiphon.training.data import Record, SpeechCorpus, length_batches
from antiphon.training.loop import Run, learning_rate_factor, set_threads
from antiphon.training.recogniser import (
    CodeRecogniser,
    ctc_loss,
    edit_distance,
    labels_to_text,
    text_to_labels,
)
from speech_tokenizer.configuration_whisper import WhisperVQConfig
from speech_tokenizer.features import log_mel_spectrogram
from speech_tokenizer.modeling_whisper import WhisperVQEncoder

logger = logging.getLogger(__name__)

SAMPLES_PER_TOKEN = 1280
HOP = 160
LOG_EVERY = 25
POSITION_SCALE = 0.1


@dataclass(frozen=True)
class TokenizerTaskConfig:
    """How the speech tokenizer is trained.

    Attributes:
        data: Folder of the speech corpus.
        run: Folder of checkpoints and logs.
        out: Folder for the finished tokenizer.
        minutes: Length of the run.
        max_steps: End after this many steps even if time is left.
        device: Torch device.
        n_threads: CPU threads, 0 for torch's choice.
        use_bf16: Autocast to bfloat16.
        batch_s: Seconds of padded audio in a batch.
        learning_rate: Peak of AdamW.
        d_model, n_layers, n_heads: Size of the encoder.
        block_frames: Frames (50 Hz) of a block that is attended to as a whole.
        n_mels: Mel channels.
        codebook_size: Number of speech tokens.
        quantise_from: Share of the run after which the codes are switched on.
        ema_decay, commitment: Codebook decay and weight of the commitment loss.
        augment_strength: Factor on the probability of each acoustic effect.
        validate_every: Steps between validations.
        seed: Seed of everything random.
    """

    data: str = "data/speech"
    run: str = "runs/tokenizer"
    out: str = "resources/embedded/tokenizer"
    minutes: float = 40.0
    max_steps: int | None = None
    device: str = "cpu"
    n_threads: int = 1
    use_bf16: bool = True
    batch_s: float = 64.0
    learning_rate: float = 2e-3
    d_model: int = 192
    n_layers: int = 4
    n_heads: int = 4
    block_frames: int = 64
    n_mels: int = 80
    codebook_size: int = 1024
    quantise_from: float = 0.35
    ema_decay: float = 0.98
    commitment: float = 0.25
    augment_strength: float = 0.5
    validate_every: int = 250
    seed: int = 1


@dataclass
class Batch:
    """Features (B, n_mels, T), frame mask (B, T) and texts."""

    features: Tensor
    mask: Tensor
    texts: list[str] = field(default_factory=list)


def encoder_config(config: TokenizerTaskConfig) -> WhisperVQConfig:
    """Describe the small encoder in the official configuration's terms."""
    return WhisperVQConfig.from_dict(
        {
            "d_model": config.d_model,
            "encoder_layers": config.n_layers,
            "encoder_attention_heads": config.n_heads,
            "encoder_ffn_dim": 4 * config.d_model,
            "num_mel_bins": config.n_mels,
            "max_source_positions": 1500,
            "pooling_kernel_size": 4,
            "pooling_type": "avg",
            "pooling_position": config.n_layers,
            "quantize_vocab_size": config.codebook_size,
            "quantize_position": config.n_layers,
            "quantize_causal_block_size": config.block_frames,
        }
    )


def collate(waveforms: list[np.ndarray], n_mels: int, texts: list[str]) -> Batch:
    """Pad waveforms to whole tokens and turn them into features with their mask."""
    longest = max(len(w) for w in waveforms)
    size = -(-longest // SAMPLES_PER_TOKEN) * SAMPLES_PER_TOKEN
    padded = torch.zeros(len(waveforms), size)
    mask = torch.zeros(len(waveforms), size // HOP, dtype=torch.bool)
    for row, waveform in enumerate(waveforms):
        padded[row, : len(waveform)] = torch.from_numpy(waveform)
        mask[row, : -(-len(waveform) // HOP)] = True
    return Batch(log_mel_spectrogram(padded, n_mels), mask, texts)


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
    return Batch(features, batch.mask, batch.texts)


class TokenizerModel(nn.Module):
    """Encoder, codes, recogniser."""

    def __init__(self, config: TokenizerTaskConfig) -> None:
        super().__init__()
        self.encoder = WhisperVQEncoder(encoder_config(config))
        self.recogniser = CodeRecogniser(config.d_model)

    def states(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Hidden states before the codes (B, T, D) and their mask (B, T)."""
        return self.encoder.hidden_before_vq(batch.features, batch.mask)


class TokenizerTask:
    """State of one training run."""

    def __init__(self, config: TokenizerTaskConfig) -> None:
        self.config = config
        set_threads(config.n_threads)
        self.run = Run(config.run, config.minutes, config.max_steps)
        self.rng = np.random.default_rng(config.seed)
        self.generator = torch.Generator().manual_seed(config.seed)
        with torch.random.fork_rng():
            torch.default_generator.manual_seed(config.seed)
            self.model = TokenizerModel(config).to(config.device)
        with torch.no_grad():
            positions = self.model.encoder.embed_positions.weight.mul_(POSITION_SCALE)
        positions.requires_grad_(
            False
        )  # so that places later than any training clip keep their meaning
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            parameters, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.is_quantised = False
        self.corpus = SpeechCorpus(config.data)

    def resume(self) -> None:
        """Take up an earlier checkpoint, if there is one."""
        state = self.run.resume()
        if state is not None:
            self.model.load_state_dict(state["model"])  # type: ignore[arg-type]
            self.optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]
            self.is_quantised = bool(state["is_quantised"])
            self.rng = np.random.default_rng(self.config.seed + self.run.step)

    def save(self) -> None:
        """Write a checkpoint."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        self.run.save({**state, "is_quantised": self.is_quantised})

    def prepare(
        self, records: list[Record], rng: np.random.Generator, strength: float = 1.0
    ) -> Batch:
        """Read, augment and featurise one batch."""
        waveforms = [self.corpus.waveform(record) for record in records]
        if strength > 0:
            waveforms = [augment(w, rng, strength) if rng.uniform() < 0.8 else w for w in waveforms]
        return collate(waveforms, self.config.n_mels, [record.text for record in records])

    def batches(self) -> Iterator[Batch]:
        """Yield training batches for ever, one ahead; the corpus is opened anew every 400."""
        strength = self.config.augment_strength
        with ThreadPoolExecutor(1) as pool:
            while True:
                self.corpus = SpeechCorpus(self.config.data)
                source = length_batches(self.corpus.select(), self.config.batch_s, self.rng)
                waiting = pool.submit(self.prepare, next(source), self.rng, strength)
                for _ in range(400):
                    batch = waiting.result()
                    waiting = pool.submit(self.prepare, next(source), self.rng, strength)
                    yield mask_features(batch, self.generator)
                waiting.result()

    def start_codes(self, batches: Iterator[Batch]) -> None:
        """Set the codebook from hidden states of twenty batches, refined by k-means."""
        states = []
        with torch.no_grad(), self.autocast():
            for _ in range(20):
                hidden, mask = self.model.states(self.to_device(next(batches)))
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

    def autocast(self) -> torch.autocast:
        """Mixed precision of the run."""
        return torch.autocast(
            self.config.device.split(":")[0], torch.bfloat16, enabled=self.config.use_bf16
        )

    def to_device(self, batch: Batch) -> Batch:
        """Move a batch to the run's device."""
        device = self.config.device
        return Batch(batch.features.to(device), batch.mask.to(device), batch.texts)

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
                if self.run.step % 50 == 0:
                    quantizer.restart_dead(valid.detach(), 0.05, self.generator)
        return out, commitment, ids

    def loss(self, batch: Batch) -> tuple[Tensor, int]:
        """Loss of one batch and how many different codes it used."""
        with self.autocast():
            hidden, mask = self.model.states(batch)
            commitment, n_used = hidden.new_zeros(()), 0
            if self.is_quantised:
                hidden, commitment, ids = self.quantise(hidden, mask)
                n_used = len(ids.unique())
            log_probabilities = self.model.recogniser(hidden, mask)
        loss = ctc_loss(log_probabilities, mask, batch.texts)
        return loss + self.config.commitment * commitment, n_used

    @torch.no_grad()
    def character_error_rate(self, records: list[Record]) -> float:
        """Greedy CER over clean records, through the codes when they are on."""
        self.model.eval()
        errors = total = 0
        for first in range(0, len(records), 32):
            chosen = records[first : first + 32]
            batch = self.to_device(self.prepare(chosen, self.rng, strength=0.0))
            with self.autocast():
                hidden, mask = self.model.states(batch)
                if self.is_quantised:
                    hidden, _, _ = self.quantise(hidden, mask)
                texts = self.model.recogniser.transcribe(hidden, mask)
            for text, got in zip(batch.texts, texts, strict=True):
                expected = labels_to_text(text_to_labels(text))
                errors += edit_distance(expected, got)
                total += len(expected)
        self.model.train()
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
        save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
        half = {key: value.half() for key, value in self.model.recogniser.state_dict().items()}
        save_file(half, out / "recogniser.safetensors", metadata={"format": "pt"})
        logger.info("tokenizer written to %s", out)

    def train(self) -> None:
        """Run to the end of the time or steps, then export."""
        self.resume()
        self.model.train()
        batches = self.batches()
        while not self.run.is_over:
            if not self.is_quantised and self.run.fraction >= self.config.quantise_from:
                self.start_codes(batches)
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * learning_rate_factor(self.run.fraction)
            loss, n_used = self.loss(self.to_device(next(batches)))
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
            self.optimizer.step()
            self.run.step += 1
            self.report(float(loss.detach()), n_used)
        self.save()
        self.export()
        self.run.plot()

    def report(self, loss: float, n_used: int) -> None:
        """Log, validate and save when it is time."""
        if self.run.step == 1 or self.run.step % LOG_EVERY == 0:
            self.run.log(loss=loss, codes_in_batch=n_used)
        if self.run.step % self.config.validate_every == 0:
            self.run.log(
                valid_cer=self.character_error_rate(self.corpus.select("question", "valid")[:160])
            )
        if self.run.should_save:
            self.save()


def train(config: TokenizerTaskConfig) -> None:
    """Train the speech tokenizer described by `config` and export it."""
    logger.info("tokenizer: %s", asdict(config))
    TokenizerTask(config).train()
