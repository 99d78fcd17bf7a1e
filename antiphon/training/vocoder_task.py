"""Trains the embedded HiFT vocoder: spectral losses that include phase, then adversarial ones.

The excitation of a training piece is aligned to the waveform's own fundamental, so that the
vocoder only has to learn the filter and phase becomes a target. At run time nothing is aligned.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.checkpoints import load_weights
from antiphon.training.adversary import AdversarialConfig, Adversary
from antiphon.training.data import SpeechCorpus
from antiphon.training.decoded_mels import DecodedMels
from antiphon.training.loop import atomic_save, learning_rate_factor
from antiphon.training.task import Losses, TrainingTask, load_started, seeded
from antiphon.training.vocoder_data import (
    HOP,
    N_MELS,
    SAMPLE_RATE,
    VocoderBatch,
    VoiceStore,
    build_voice_store,
    choose_spoken,
    is_prepared,
    log_mel,
)
from antiphon.training.vocoder_loss import VocoderLoss
from cosyvoice.hifigan.f0_predictor import ConvRNNF0Predictor
from cosyvoice.hifigan.generator import HiFTGenerator
from cosyvoice.hifigan.source import draw_source

logger = logging.getLogger(__name__)

N_VALID = 12
_EDGE_FRAMES = 2  # not judged: their context is cut off


@dataclass(frozen=True)
class VocoderTaskConfig(AdversarialConfig):
    """How the vocoder is trained.

    Attributes:
        voice: Voice of the corpus to learn.
        output_voices: Output voices to learn instead; empty for `voice`.
        n_utterances: Most utterances of a voice used.
        n_loaders: Processes that analyse the corpus; 0 does it in this one.
        decoder: Folder of a finished decoder: learn from the mels that it makes of the corpus's
            speech tokens instead of from those of the recordings; empty for these.
        batch, n_frames: Pieces in a batch and mel frames in a piece.
        phase_weight, mel_weight: Weights beside the magnitude loss.
        mel_noise: Largest standard deviation of noise on the input mel.
        base_channels, f0_channels: Widths.
        upsample_rates, upsample_kernel_sizes, n_fft, hop_len: Rates; their product is 256.
        resblock_kernel_sizes, resblock_dilations: Filter blocks.
        source_resblock_kernel_sizes, source_resblock_dilations: Blocks on the source path.
        nsf_sigma: Noise on the sine.
        source_gain, source_bias: Start of the source's linear layer: a pulse-like wave.
    """

    run: str = "runs/vocoder"
    out: str = "resources/embedded/decoder"
    voice: str = "flite:slt"
    output_voices: tuple[str, ...] = ()
    n_utterances: int = 1200
    n_loaders: int = 0
    decoder: str = ""
    batch: int = 16
    n_frames: int = 32
    phase_weight: float = 1.0
    mel_weight: float = 2.0
    mel_noise: float = 0.15
    base_channels: int = 256
    f0_channels: int = 192
    upsample_rates: tuple[int, ...] = (4, 4)
    upsample_kernel_sizes: tuple[int, ...] = (8, 8)
    n_fft: int = 64
    hop_len: int = 16
    resblock_kernel_sizes: tuple[int, ...] = (3, 7)
    resblock_dilations: tuple[int, ...] = (1, 3, 5)
    source_resblock_kernel_sizes: tuple[int, ...] = (7, 7)
    source_resblock_dilations: tuple[int, ...] = (1, 3)
    nsf_sigma: float = 0.0005
    source_gain: float = 250.0
    source_bias: float = -8.75


def vocoder_arguments(config: VocoderTaskConfig) -> dict[str, object]:
    """Describe the vocoder in the official configuration's terms, without the f0 predictor."""
    return {
        "in_channels": N_MELS,
        "base_channels": config.base_channels,
        "nb_harmonics": 0,
        "sampling_rate": SAMPLE_RATE,
        "nsf_alpha": 0.1,
        "nsf_sigma": config.nsf_sigma,
        "nsf_voiced_threshold": 10,
        "upsample_rates": list(config.upsample_rates),
        "upsample_kernel_sizes": list(config.upsample_kernel_sizes),
        "istft_params": {"n_fft": config.n_fft, "hop_len": config.hop_len},
        "resblock_kernel_sizes": list(config.resblock_kernel_sizes),
        "resblock_dilation_sizes": [list(config.resblock_dilations)]
        * len(config.resblock_kernel_sizes),
        "source_resblock_kernel_sizes": list(config.source_resblock_kernel_sizes),
        "source_resblock_dilation_sizes": [list(config.source_resblock_dilations)]
        * len(config.source_resblock_kernel_sizes),
        "lrelu_slope": 0.1,
        "audio_limit": 0.99,
    }


def build_vocoder(config: VocoderTaskConfig) -> HiFTGenerator:
    """Build the vocoder with fresh weights from the config's seed."""
    with seeded(config.seed):
        predictor = ConvRNNF0Predictor(1, N_MELS, config.f0_channels)
        vocoder = HiFTGenerator(**vocoder_arguments(config), f0_predictor=predictor)  # type: ignore[arg-type]
    with torch.no_grad():
        vocoder.m_source.l_linear.weight.fill_(config.source_gain)
        vocoder.m_source.l_linear.bias.fill_(config.source_bias)
        vocoder.conv_post.bias[: config.n_fft // 2 + 1].fill_(-2.0)
        predictor.classifier.bias.fill_(100.0)
    return vocoder


class VocoderTask(TrainingTask[VocoderTaskConfig]):
    """State of one training run."""

    longest_gradient = 5.0
    model: HiFTGenerator

    def __init__(self, config: VocoderTaskConfig) -> None:
        super().__init__(config)
        self.model = build_vocoder(config).to(self.device)
        self.criterion = VocoderLoss(config.phase_weight, config.mel_weight).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.learning_rate,
            betas=(0.8, 0.99),
            weight_decay=0.01,
            fused=True,
        )
        self.adversary = Adversary(config)
        self.store = self._open_store()
        n_valid = min(N_VALID, len(self.store) // 4)
        self.train_range = range(len(self.store) - n_valid)
        self.valid_range = range(len(self.store) - n_valid, len(self.store))

    def _open_store(self) -> VoiceStore:
        """Prepare the voices' data, once."""
        config = self.config
        corpus = SpeechCorpus(config.data)
        records = choose_spoken(corpus, config.voice, config.output_voices, config.n_utterances)
        folder = Path(config.run) / "store"
        if not config.decoder or is_prepared(folder):
            return build_voice_store(corpus, records, folder, config.n_loaders)
        decode = DecodedMels(config.decoder, config.data, has_voices=bool(config.output_voices))
        known = decode.known(records)
        return build_voice_store(corpus, known, folder, config.n_loaders, decode)

    def start_from(self, folder: Path) -> None:
        """Take a folder's hift.pt."""
        path = folder / "hift.pt"
        found = {key: value.float() for key, value in load_weights(path).items()}
        load_started(self.model, found, folder)

    def compiled(self) -> Iterable[nn.Module]:
        """The blocks of filters: their batches are always equally long."""
        return (*self.model.resblocks, *self.model.source_resblocks)

    def next_batch(self) -> VocoderBatch:
        """Draw a batch on the run's device; half of the mels carry noise, as a decoder's do."""
        config = self.config
        batch = self.store.draw(self.train_range, config.batch, config.n_frames, self.generator)
        level = torch.rand(config.batch, 1, 1, generator=self.generator)
        level = (2 * level - 1).clamp(min=0) * config.mel_noise
        noise = torch.randn(batch.mel.shape, generator=self.generator)
        parts = (batch.mel + level * noise, batch.waveform, batch.f0, batch.cycles)
        return VocoderBatch(*(part.to(self.device) for part in parts))

    def aligned_source(self, batch: VocoderBatch) -> Tensor:
        """Excitation (B, 1, n) whose phase follows that of the waveform."""
        module = self.model.m_source
        steps = (batch.cycles[:, 1:] - batch.cycles[:, :-1]) * SAMPLE_RATE / HOP
        f0 = self.model.upsample_f0(torch.where(batch.f0 > 0, steps, 0.0))
        start = batch.cycles[:, :1, None]
        cycles = module.l_sin_gen.harmonic_cycles(self.model.upsample_f0(steps), start)
        draws = draw_source(f0.shape[0], module.n_harmonics, f0.shape[2], self.generator)
        return module.merge(module.l_sin_gen.from_cycles(cycles, f0, draws))

    def losses(self) -> Losses:
        """All losses of the next batch by name."""
        batch = self.next_batch()
        edge = _EDGE_FRAMES * HOP
        with self.autocast():
            f0 = self.model.predict_f0(batch.mel)
        source = self.aligned_source(batch)
        with self.autocast():
            frames = self.model.spectrum_frames(batch.mel, source)
        waveform = self.model.synthesise(frames.float())
        made, recorded = waveform[:, edge:-edge], batch.waveform[:, edge:-edge]
        losses: Losses = self.criterion(made, recorded)
        losses["f0"] = functional.l1_loss(f0.float(), batch.f0)
        losses["total"] = losses["total"] + 0.02 * losses["f0"]
        return self._with_adversary(losses, recorded, made)

    def _with_adversary(self, losses: Losses, recorded: Tensor, made: Tensor) -> Losses:
        """Let the discriminators learn and add what they say, late in the run."""
        fraction = self.run.fraction
        share = self.config.adversarial_share(fraction)
        if share is None:
            return losses
        with self.autocast():
            learned = self.adversary.learn(recorded, made, learning_rate_factor(fraction))
            said = self.adversary.oppose(recorded, made)
        weighted = (
            self.config.adversarial_weight * said["adversarial"]
            + self.config.feature_weight * said["features"]
        )
        return {**losses, **learned, **said, "total": losses["total"] + share * weighted}

    def state(self) -> dict[str, object]:
        """What a checkpoint holds: the discriminators too."""
        return {**super().state(), "adversary": self.adversary.state()}

    def load_state(self, state: dict[str, object]) -> None:
        """Take up a checkpoint; one from before there were discriminators leaves them fresh."""
        super().load_state(state)
        if "adversary" in state:
            self.adversary.load_state(state["adversary"])  # type: ignore[arg-type]

    def validate(self) -> dict[str, float]:
        """Held-out utterances: L1 of their mel, errors of f0 and of voicing."""
        mel_errors, f0_errors, voicing_errors = [], [], []
        for utterance in self.valid_range:
            piece = self.store.cut(utterance, 0, self.store.n_frames(utterance))
            mel = torch.from_numpy(piece["mel"])[None].to(self.device)
            wanted = torch.from_numpy(piece["f0"])[None].to(self.device)
            recorded = log_mel(torch.from_numpy(piece["waveform"])[None]).to(self.device)
            generator = torch.Generator().manual_seed(utterance)
            f0 = self.model.predict_f0(mel)
            waveform = self.model(mel, f0=f0, generator=generator)
            mel_errors.append(float((log_mel(waveform) - recorded).abs().mean()))
            both = (f0 > 10) & (wanted > 0)
            f0_errors.append(float((f0 - wanted).abs()[both].mean()) if both.any() else 400.0)
            voicing_errors.append(float(((f0 > 10) != (wanted > 0)).float().mean()))
        return {
            "valid_mel": sum(mel_errors) / len(mel_errors),
            "valid_f0_hz": sum(f0_errors) / len(f0_errors),
            "valid_voicing": sum(voicing_errors) / len(voicing_errors),
        }

    def export(self) -> None:
        """Write hift.pt with half-precision numbers under the official names."""
        out = Path(self.config.out)
        out.mkdir(parents=True, exist_ok=True)
        state = {key: value.detach().cpu().half() for key, value in self.model.state_dict().items()}
        atomic_save(state, out / "hift.pt")
        logger.info("vocoder written to %s", out / "hift.pt")


def train(config: VocoderTaskConfig) -> None:
    """Train the vocoder described by `config` and export it."""
    VocoderTask(config).train()
