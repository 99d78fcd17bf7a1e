"""Trains the embedded language model on interleaved 13 : 26 question-answer data.

Listening is taught beside answering: part of the exchanges ask for a transcription, answers
restate the question, and embeddings of speech tokens start from the tokenizer's codebook, so like
sounds start alike. Source: GLM-4-Voice report (arXiv 2412.02612), interleaved data and tuning.
"""

import logging
import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import GlmConfig, GlmForCausalLM

from antiphon.errors import ConfigError
from antiphon.models.glm4voice.language_model import load_language_model
from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer
from antiphon.training.averaging import between, check_share
from antiphon.training.code_carrying import rows_to_start
from antiphon.training.domain.table import SMALL, find_domain
from antiphon.training.lm_batches import (
    LmBatches,
    RowSettings,
    alphabet_for,
    nearest_codes,
    read_source,
)
from antiphon.training.lm_data import (
    ANY_SOUND,
    NO_TARGET,
    HeardSpeech,
    Row,
    SegmentBuilder,
    attention_mask,
    stack_rows,
)
from antiphon.training.lm_export import export_language_model
from antiphon.training.lm_listening import ListeningHead, lower_states
from antiphon.training.lm_loss import token_losses, token_weights
from antiphon.training.lm_rows import Mixture, mixture_at
from antiphon.training.lm_validation import HeldOut
from antiphon.training.lm_vocabulary import copy_vocabulary, prepare_vocabulary
from antiphon.training.loop import CHECKPOINT, read_checkpoint
from antiphon.training.number_words import NumberWords
from antiphon.training.optimizers import build_optimizer
from antiphon.training.prefetch import prefetch
from antiphon.training.task import (
    Losses,
    TaskConfig,
    TrainingTask,
    load_started,
    seeded,
    train_together,
)
from antiphon.training.widening import widen_feed_forward
from speech_tokenizer.weights import load_encoder

logger = logging.getLogger(__name__)

BETAS = (0.9, 0.97)
HEAD_ALONE = 200  # steps in which a new head that spells learns to read a trained model's states


@dataclass(frozen=True)
class LmTaskConfig(TaskConfig):
    """How the language model is trained.

    Attributes:
        domain: "small" or "full", as the corpus was made for; the model remembers it.
        tokenizer: Folder of the trained speech tokenizer.
        rows: Rows in a batch.
        row_length: Tokens in a row.
        weight_decay: Of the optimizer.
        use_muon: Whether Muon moves the layers' matrices, AdamW the rest.
        audio_weight: Weight of a speech token in the loss (a text token counts 1).
        resumed_weight: Weight of the first text token after a block of sound.
        listening_until: Share of the run that is mostly listening; whole replies come after it.
        listening_weight: Weight of spelling what is heard (lm_listening.py); 0 leaves it out.
        listening_layer: Layers below that spelling.
        listened: Share of batches that are speech alone, to spell: the densest practice in
            hearing, of the lower layers alone.
        code_noise: Share of heard speech tokens that are replaced by a neighbour.
        d_model, n_layers, n_heads, n_kv_heads, d_ff: Size of the model.
        n_ranks: Text tokens.
        context_length: Longest prompt plus reply.
        reload_every: Steps after which new codes are looked for.
        n_loaders: Processes that make batches ahead; 0 makes them in a thread.
        n_processes: Processes that learn together on the processor, each from batches of its own.
        start_share: Share of the weights of `start` in the model that is written (averaging.py).
    """

    domain: str = SMALL
    tokenizer: str = "resources/embedded/tokenizer"
    run: str = "runs/lm"
    out: str = "resources/embedded/lm"
    rows: int = 10
    row_length: int = 384
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    use_muon: bool = False
    audio_weight: float = 0.35
    resumed_weight: float = 1.0
    listening_until: float = 0.5
    listening_weight: float = 0.0
    listening_layer: int = 4
    listened: float = 0.0
    code_noise: float = 0.06
    d_model: int = 256
    n_layers: int = 6
    n_heads: int = 4
    n_kv_heads: int = 2
    d_ff: int = 704
    n_ranks: int = 2600
    context_length: int = 2048
    validate_every: int = 200
    reload_every: int = 300
    n_loaders: int = 0
    n_processes: int = 1
    start_share: float = 0.0


def glm_config(config: LmTaskConfig, tokenizer: GlmTextTokenizer) -> GlmConfig:
    """Describe the small model in transformers' terms."""
    head_dim = config.d_model // config.n_heads
    return GlmConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=config.d_model,
        intermediate_size=config.d_ff,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_kv_heads,
        head_dim=head_dim,
        attention_bias=True,
        rms_norm_eps=1e-5,
        max_position_embeddings=config.context_length,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        },
        tie_word_embeddings=False,
        pad_token_id=tokenizer.layout.stop[0],
        eos_token_id=list(tokenizer.layout.stop),
        attention_dropout=0.0,
    )


def codebook_of(folder: str) -> Tensor:
    """Read the speech tokenizer's codes, (K, D)."""
    if not (Path(folder) / "config.json").exists():
        raise ConfigError(f"no speech tokenizer in {folder}: run `antiphon train tokenizer` first")
    return load_encoder(Path(folder), torch.device("cpu")).codebook.weight.detach()


def start_from_codebook(
    model: GlmForCausalLM, codebook: Tensor, audio_0: int, generator: torch.Generator
) -> None:
    """Set embeddings and output rows of speech tokens to the projected codebook."""
    centred = (codebook - codebook.mean(0)) / codebook.std(0).clamp(min=1e-4)
    projection = torch.randn(codebook.shape[1], model.config.hidden_size, generator=generator)
    projected = centred @ projection / codebook.shape[1] ** 0.5
    rows = slice(audio_0, audio_0 + len(codebook))
    with torch.no_grad():
        model.model.embed_tokens.weight[rows] = 0.05 * projected
        model.lm_head.weight[rows] = 0.02 * projected


class LmTask(TrainingTask[LmTaskConfig]):
    """State of one training run."""

    model: GlmForCausalLM

    def __init__(self, config: LmTaskConfig) -> None:
        super().__init__(config)
        check_share(
            config.start_share,
            config.start,
            (config.out, config.run),
            has_other_codes=config.new_codes or bool(config.old_codes),
        )
        self.domain = find_domain(config.domain)
        codebook = self.codebook = codebook_of(config.tokenizer)
        self.fraction = torch.zeros(1).share_memory_()
        self.n_codes = len(codebook)
        prepare_vocabulary(self.domain, config.start, config.out, config.n_ranks, self.n_codes)
        copy_vocabulary(Path(config.out), Path(config.run))  # a later run may go on from this one
        self.tokenizer = GlmTextTokenizer.from_pretrained(config.out)
        with seeded(config.seed):
            self.model = GlmForCausalLM(glm_config(config, self.tokenizer))
        self.model.to(self.device)  # type: ignore[arg-type]
        if config.device == "cpu":
            self.model.set_attn_implementation("eager")  # faster than SDPA on short rows, measured
        start_from_codebook(self.model, codebook, self.tokenizer.layout.audio_0, self.generator)
        self.numbers = NumberWords(
            self.tokenizer, config.d_model, has_mandarin="zh" in self.domain.languages
        )
        self.after_step()
        alphabet = alphabet_for(self.domain)
        self.builder = SegmentBuilder(
            self.tokenizer,
            nearest_codes(codebook),
            config.code_noise,
            random.Random(config.seed),
            alphabet,
        )
        self.held_out = HeldOut(config.data, self.domain, self.builder, config.row_length)
        self.has_fresh_head = False
        with seeded(config.seed):
            self.listening = ListeningHead(config.d_model, alphabet).to(self.device)
        self.optimizer = build_optimizer(
            nn.ModuleList([self.model, self.listening]),
            config.learning_rate,
            config.use_muon,
            BETAS,
            config.weight_decay,
        )
        self.rows = self.batches()

    def state(self) -> dict[str, object]:
        """What a checkpoint holds."""
        return {**super().state(), "listening": self.listening.state_dict()}

    def load_state(self, state: dict[str, object]) -> None:
        """Take up a checkpoint's state."""
        super().load_state(state)
        self.listening.load_state_dict(state["listening"])  # type: ignore[arg-type]

    def learned(self) -> Iterable[nn.Parameter]:
        """The model's and the listening head's."""
        return (*self.model.parameters(), *self.listening.parameters())

    def compiled(self) -> Iterable[nn.Module]:
        """The layers: all batches have the shape of rows or of recited rows."""
        return (*self.model.model.layers, self.model.model.norm)

    def after_step(self) -> None:
        """Keep the number words' embeddings at their values."""
        self.numbers.pin(self.model.model.embed_tokens.weight, self.model.lm_head.weight)

    def start_from(self, folder: Path) -> None:
        """Take a language model with the same vocabulary; what of speech tokens, the settings say.

        Its feed-forward layers may be narrower than those to train.
        """
        self.has_fresh_head = True
        found = load_language_model(folder, progress=False).state_dict()
        fresh = {name: value.clone() for name, value in self.model.state_dict().items()}
        load_started(self.model, widen_feed_forward(found, fresh), folder)
        audio_0 = self.tokenizer.layout.audio_0
        rows = slice(audio_0, audio_0 + self.n_codes)
        names = ("model.embed_tokens.weight", "lm_head.weight")
        states = (self.model.state_dict(), fresh)
        known, unknown = (torch.cat([each[name][rows] for name in names], 1) for each in states)
        started = rows_to_start(known, unknown, self.config, self.n_codes).chunk(2, dim=1)
        with torch.no_grad():
            for name, values in zip(names, started, strict=True):
                self.model.get_parameter(name)[rows] = values
        self.after_step()

    def reseed(self, seed: int) -> None:
        """Draw differently from here on."""
        super().reseed(seed)
        self.builder.rng.seed(seed)

    def batches(self) -> Iterator[Row]:
        """Yield batches for ever, made ahead; new codes are taken up now and then."""
        config = self.config
        if config.n_loaders:
            made = LmBatches(
                RowSettings(config.data, config.domain, config.row_length),
                config.out,
                config.rows,
                config.reload_every,
                config.listening_until,
                config.listened,
                config.code_noise,
                self.codebook,
                self.fraction,
            )
            yield from prefetch(made, config.n_loaders, config.seed + self.run.step)
        with ThreadPoolExecutor(1) as pool:
            while True:
                settings = RowSettings(config.data, config.domain, config.row_length)
                source = read_source(settings, self.builder)
                source.mixture = self.mixture()
                rows = source.batches(config.rows)
                waiting = pool.submit(next, rows)
                for _ in range(config.reload_every):
                    batch = waiting.result()
                    source.mixture = self.mixture()
                    waiting = pool.submit(next, rows)
                    yield stack_rows(batch)
                waiting.result()

    def mixture(self) -> Mixture:
        """What is practised now."""
        return mixture_at(self.run.fraction, self.config.listening_until, self.config.listened)

    def before_step(self) -> None:
        """Tell the processes that make batches how far the run is."""
        self.fraction.fill_(self.run.fraction)

    def losses(self) -> Losses:
        """Weighted loss of the next batch, and the plain mean losses of text and speech tokens."""
        row = next(self.rows)
        config = self.config
        ids, targets, positions, groups = (
            values.to(self.device) for values in (row.ids, row.targets, row.positions, row.groups)
        )
        mask = attention_mask(groups, torch.bfloat16 if self.computes_bf16() else torch.float32)
        learned = targets != NO_TARGET
        if not learned.any():
            return self.listening_losses(row.heard, ids, mask, positions)
        spelled = torch.tensor(float("nan"))  # a batch without speech
        with self.autocast():
            states = self.model.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                use_cache=False,
                output_hidden_states=config.listening_weight > 0,
            )
            logits = self.model.lm_head(states.last_hidden_state[learned])
            if config.listening_weight > 0 and row.heard:
                lower = states.hidden_states[config.listening_layer]
                spelled = self.listening(self.heard_by_head(lower), row.heard)
        targets = targets[learned]
        losses = token_losses(logits.float(), targets, self.tokenizer.layout.audio_0, self.n_codes)
        is_audio, is_end = targets >= self.tokenizer.layout.audio_0, targets == ANY_SOUND
        weights = token_weights(
            ids[learned], targets, self.tokenizer.layout, config.audio_weight, config.resumed_weight
        )
        answered = (losses * weights).sum() / weights.sum()
        return {
            "total": answered + config.listening_weight * spelled.nan_to_num(),
            "text_loss": losses[~is_audio & ~is_end].mean(),
            "end_loss": losses[is_end].mean(),
            "audio_loss": losses[is_audio].mean(),
            "spelling": spelled,
        }

    def listening_losses(
        self, heard: Sequence[HeardSpeech], ids: Tensor, mask: Tensor, positions: Tensor
    ) -> Losses:
        """Loss of a batch of speech alone, which the lower layers spell."""
        config = self.config
        with self.autocast():
            states = lower_states(self.model.model, ids, mask, positions, config.listening_layer)
            spelled = self.listening(self.heard_by_head(states), heard)
        return {"total": config.listening_weight * spelled, "spelling_alone": spelled}

    def heard_by_head(self, states: Tensor) -> Tensor:
        """Hidden states for the head that spells; one new to a trained model learns alone first."""
        is_alone = self.has_fresh_head and self.run.step < HEAD_ALONE
        return states.detach() if is_alone else states

    def validate(self) -> dict[str, float]:
        """Shares of reserved answers right in text, and of reserved questions heard rightly."""
        return self.held_out.validate(self.model, self.config.seed)

    def export(self) -> None:
        """Write the model in the official ChatGLM layout beside its vocabulary."""
        export_language_model(self.model, Path(self.config.out), self.domain.max_turns)
        logger.info("language model written to %s", self.config.out)

    @contextmanager
    def finished(self) -> Iterator[None]:
        """Let the model hold the mean that `start_share` asks for, if any, until left."""
        if not self.config.start_share:
            yield
            return
        learned = {name: value.clone() for name, value in self.model.state_dict().items()}
        checkpoint = Path(self.config.start) / CHECKPOINT
        if checkpoint.exists():
            self.model.load_state_dict(read_checkpoint(checkpoint)[0]["model"])  # type: ignore[arg-type]
        else:
            self.start_from(Path(self.config.start))
        begun = self.model.state_dict()
        self.model.load_state_dict(between(begun, learned, self.config.start_share))
        yield
        self.model.load_state_dict(learned)


def train(config: LmTaskConfig) -> None:
    """Train the language model described by `config` and export it.

    Raises:
        ConfigError: If several processes are to learn on anything but a processor.
    """
    if config.n_processes > 1:  # once, before all read it
        n_codes = len(codebook_of(config.tokenizer))
        domain = find_domain(config.domain)
        prepare_vocabulary(domain, config.start, config.out, config.n_ranks, n_codes)
    train_together(LmTask, config, config.n_processes)
