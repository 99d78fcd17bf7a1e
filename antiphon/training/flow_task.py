"""Trains the decoder from speech tokens to mel on one voice, or on several told apart by vectors.

Cuts of utterances are learned with and without a prompt, since streaming continues a left context.
Knows no vocoder but for its sizes, which go into the same config.yaml.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from antiphon.checkpoints import load_weights
from antiphon.training.code_carrying import rows_to_start
from antiphon.training.decoder_config import (
    N_MELS,
    FlowSizes,
    render_flow,
    render_solving,
    render_vocoder,
    write_config,
)
from antiphon.training.flow_data import Cut, FlowSource, build_flow_store
from antiphon.training.loop import atomic_save
from antiphon.training.task import Losses, TaskConfig, TrainingTask, load_started, seeded
from antiphon.training.task_config import load_task_config
from antiphon.training.vocoder_task import VocoderTaskConfig, vocoder_arguments
from cosyvoice.config import load_decoder_config
from cosyvoice.flow.flow import MaskedDiffWithXvec, PromptSampling
from cosyvoice.flow.solving import Solving
from flow_inference.speakers import write_speakers

logger = logging.getLogger(__name__)

N_VALID = 12
LAST_REGULATOR_LAYER = 12


@dataclass(frozen=True)
class FlowTaskConfig(TaskConfig):
    """How the decoder from tokens to mel is trained.

    Attributes:
        voice: Voice of the corpus to learn.
        output_voices: Output voices to learn instead, the usual one first; empty for `voice`.
        n_utterances: Most utterances of a voice used.
        n_loaders: Processes that analyse the corpus; 0 does it in this one.
        batch: Cuts in a batch.
        longest_cut: Most tokens in a cut.
        prior_weight: Weight of the error of the encoder's own mel.
        prompt_probability: Share of cuts that begin with a prompt.
        longest_prompt_share: Largest share of a cut that is a prompt.
        token_noise: Share of tokens replaced by random ones.
        ema_decay: Of the average of the weights that is exported.
        n_timesteps: Euler steps in validation.
        vocab_size: Number of speech tokens.
        frames_per_token: Frames that the encoder gives of a token before the flow begins.
        width, encoder_heads, linear_units, encoder_layers: Of the encoder.
        channels, head_dim, estimator_heads, n_blocks, n_mid_blocks: Of the U-Net.
        guidance: Strength of guidance written into config.yaml.
        run_timesteps, run_guided_steps, run_start_at, run_temperature, run_contrast: How to solve
            the flow, written into config.yaml (cosyvoice/flow/solving.py).
        vocoder_recipe: Recipe whose sizes are written into config.yaml.
    """

    run: str = "runs/flow"
    out: str = "resources/embedded/decoder"
    voice: str = "flite:slt"
    output_voices: tuple[str, ...] = ()
    n_utterances: int = 6000
    n_loaders: int = 0
    batch: int = 8
    longest_cut: int = 32
    prior_weight: float = 1.0
    prompt_probability: float = 0.5
    longest_prompt_share: float = 0.6
    token_noise: float = 0.02
    ema_decay: float = 0.999
    validate_every: int = 500
    n_timesteps: int = 10
    vocab_size: int = 1024
    frames_per_token: int = 1
    width: int = 192
    encoder_heads: int = 4
    linear_units: int = 512
    encoder_layers: int = 4
    channels: tuple[int, ...] = (64, 128)
    head_dim: int = 32
    estimator_heads: int = 2
    n_blocks: int = 1
    n_mid_blocks: int = 2
    guidance: float = 0.7
    run_timesteps: int = 4
    run_guided_steps: int = 4
    run_start_at: float = 0.2
    run_temperature: float = 0.6
    run_contrast: float = 0.0
    vocoder_recipe: str = "vocoder-cpu"


def flow_sizes(config: FlowTaskConfig) -> FlowSizes:
    """Take the sizes out of the settings."""
    values = asdict(config)
    return FlowSizes(**{name: values[name] for name in FlowSizes.__dataclass_fields__})


def render_config(config: FlowTaskConfig) -> str:
    """Write config.yaml for this decoder and the vocoder of the recipe."""
    vocoder = load_task_config(VocoderTaskConfig, "vocoder", config.vocoder_recipe, [])
    solving = Solving(
        config.run_timesteps,
        config.run_guided_steps,
        start_at=config.run_start_at,
        temperature=config.run_temperature,
        contrast=config.run_contrast,
    )
    parts = (
        render_flow(flow_sizes(config)),
        render_solving(solving),
        render_vocoder(vocoder_arguments(vocoder), vocoder.f0_channels),
    )
    return "".join(parts)


def build_flow(config: FlowTaskConfig, config_path: Path, mel_mean: Tensor) -> MaskedDiffWithXvec:
    """Build the decoder from its config.yaml; it starts out predicting the average mel (80,)."""
    with seeded(config.seed):
        flow = load_decoder_config(config_path).build_flow()
    outputs = {"decoder.estimator.final_proj", f"length_regulator.model.{LAST_REGULATOR_LAYER}"}
    with torch.no_grad():
        for name, layer in flow.named_modules():
            if name in outputs and isinstance(layer, nn.Conv1d) and layer.bias is not None:
                layer.weight.mul_(0.01)
                layer.bias.copy_(mel_mean)
    return flow.to(config.device)


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Make the update of averaged weights; early on it forgets faster."""

    def update(average: Tensor, current: Tensor, n_averaged: Tensor | int) -> Tensor:
        count = float(n_averaged)
        return average.lerp(current, 1 - min(decay, (1 + count) / (10 + count)))

    return update


def in_each_frame(value: Tensor, n_frames: int) -> Tensor:
    """Let what gives one frame of a token, (80, ...), give it in each of several: the same mel."""
    return value.repeat(n_frames, *[1] * (value.ndim - 1)) if len(value) == N_MELS else value


class FlowTask(TrainingTask[FlowTaskConfig]):
    """State of one training run."""

    longest_gradient = 2.0
    model: MaskedDiffWithXvec

    def __init__(self, config: FlowTaskConfig) -> None:
        super().__init__(config)
        self.store = build_flow_store(self._source(), Path(config.run) / "store")
        n_valid = min(N_VALID, len(self.store) // 4)
        self.train_range = range(len(self.store) - n_valid)
        self.valid_range = range(len(self.store) - n_valid, len(self.store))
        self.config_text = render_config(config)
        config_path = write_config(self.config_text, Path(config.run))
        self.model = build_flow(config, config_path, self.store.mean)
        self.average = AveragedModel(self.model, avg_fn=moving_average(config.ema_decay))
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=0.01,
            fused=True,
        )

    def _source(self) -> FlowSource:
        """What the settings say is learned."""
        config = self.config
        return FlowSource(
            config.data,
            config.voice,
            config.output_voices,
            config.n_utterances,
            config.vocab_size,
            config.n_loaders,
        )

    @property
    def flow(self) -> MaskedDiffWithXvec:
        """The decoder with averaged weights."""
        module = self.average.module
        assert isinstance(module, MaskedDiffWithXvec)
        return module

    def state(self) -> dict[str, object]:
        """What a checkpoint holds."""
        return {**super().state(), "average": self.average.state_dict()}

    def load_state(self, state: dict[str, object]) -> None:
        """Take up a checkpoint's state."""
        super().load_state(state)
        self.average.load_state_dict(state["average"])  # type: ignore[arg-type]

    def start_from(self, folder: Path) -> None:
        """Take a folder's flow.pt; what of its speech tokens, the settings say."""
        path = folder / "flow.pt"
        found = {key: value.float() for key, value in load_weights(path).items()}
        name, fresh = "input_embedding.weight", self.model.input_embedding.weight.detach().clone()
        if name in found:
            found[name] = rows_to_start(found[name], fresh, self.config, self.config.vocab_size)
        for name in ("encoder_proj.weight", "encoder_proj.bias"):
            found[name] = in_each_frame(found[name], self.config.frames_per_token)
        load_started(self.model, found, folder)
        self.average.module.load_state_dict(self.model.state_dict())

    def after_step(self) -> None:
        """Average the weights."""
        self.average.update_parameters(self.model)

    def next_batch(self) -> dict[str, Tensor]:
        """Draw a batch; some tokens are replaced, as a language model may err."""
        config = self.config
        cuts = self.store.draw_cuts(
            self.train_range, config.batch, config.longest_cut, self.generator
        )
        batch = self.store.batch(cuts)
        shape = batch["speech_token"].shape
        is_noise = torch.rand(shape, generator=self.generator) < config.token_noise
        noise = torch.randint(config.vocab_size, shape, generator=self.generator)
        batch["speech_token"] = torch.where(is_noise, noise, batch["speech_token"])
        return batch

    def losses(self) -> Losses:
        """Losses of the flow and of the encoder's own mel on the next batch."""
        prompt = PromptSampling(self.config.prompt_probability, self.config.longest_prompt_share)
        with self.autocast():
            losses = self.model(
                self.next_batch(), self.device, generator=self.generator, prompt=prompt
            )
        total = losses["loss"] + self.config.prior_weight * losses["prior_loss"]
        return {"total": total, "flow": losses["loss"], "prior": losses["prior_loss"]}

    def validate(self) -> dict[str, float]:
        """Mean absolute error of held-out mels: of the encoder's own, and solved with guidance."""
        flow = self.flow.eval()
        prior_errors, mel_errors = [], []
        for utterance in self.valid_range:
            batch = self.store.batch([Cut(utterance, 0, int(self.store.n_tokens[utterance]))])
            values = {key: value.to(self.device) for key, value in batch.items()}
            token, length = values["speech_token"], values["speech_token_len"]
            wanted = values["speech_feat"].transpose(1, 2)  # (1, 80, T)
            given = flow.condition(token, length, values["embedding"])
            mel = self.solve(flow, token, length, values["embedding"], utterance)
            prior_errors.append(float((given.mu - wanted).abs().mean()))
            mel_errors.append(float((mel - wanted).abs().mean()))
        return {
            "valid_prior": sum(prior_errors) / len(prior_errors),
            "valid_mel": sum(mel_errors) / len(mel_errors),
        }

    def solve(
        self, flow: MaskedDiffWithXvec, token: Tensor, length: Tensor, speaker: Tensor, seed: int
    ) -> Tensor:
        """Decode a whole utterance (1, T) without a prompt, (1, 80, T_mel)."""
        return flow.inference(
            token,
            length,
            token[:, :0],
            torch.zeros_like(length),
            torch.zeros(1, 0, flow.output_size, device=self.device),
            torch.zeros_like(length),
            speaker,
            generator=torch.Generator().manual_seed(seed),
            n_timesteps=self.config.n_timesteps,
        )

    def export(self) -> None:
        """Write config.yaml, flow.pt, the averaged weights in half precision, and the voices."""
        out = Path(self.config.out)
        write_config(self.config_text, out)
        if self.config.output_voices:
            write_speakers(self._source().speakers(), out)
        state = {key: value.detach().cpu().half() for key, value in self.flow.state_dict().items()}
        atomic_save(state, out / "flow.pt")
        logger.info("decoder written to %s", out / "flow.pt")


def train(config: FlowTaskConfig) -> None:
    """Train the decoder described by `config` and export it."""
    FlowTask(config).train()
