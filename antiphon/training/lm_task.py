"""Trains the embedded language model on interleaved 13 : 26 question-answer data.

Listening is taught beside answering: part of the exchanges ask for a transcription, answers
restate the question, and embeddings of speech tokens start from the tokenizer's codebook, so like
sounds start alike. Source: GLM-4-Voice report (arXiv 2412.02612), interleaved data and tuning.
"""

import json
import logging
import math
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import GlmConfig, GlmForCausalLM

from antiphon.dialogue.prompt import REPLY_MODE, render_system, system_prompt
from antiphon.errors import ConfigError
from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer
from antiphon.training import grammar
from antiphon.training.data import CodeStore, Record, SpeechCorpus
from antiphon.training.lm_data import (
    NO_TARGET,
    TRANSCRIPTION_MODE,
    Codes,
    Row,
    RowSource,
    SegmentBuilder,
    attention_mask,
    mixture_at,
    typed_forms,
)
from antiphon.training.lm_export import export_language_model
from antiphon.training.loop import Run, learning_rate_factor, set_threads
from antiphon.training.number_words import NumberWords
from antiphon.training.text_vocabulary import write_text_vocabulary

logger = logging.getLogger(__name__)

LOG_EVERY = 25


@dataclass(frozen=True)
class LmTaskConfig:
    """How the language model is trained.

    Attributes:
        data: Folder of the speech corpus with its codes.
        tokenizer: Folder of the trained speech tokenizer.
        run: Folder of checkpoints and logs.
        out: Folder for the finished model.
        minutes, max_steps: End of the run, whichever comes first.
        device: Torch device.
        n_threads: CPU threads, 0 for torch's choice.
        use_bf16: Autocast to bfloat16.
        rows: Rows in a batch.
        row_length: Tokens in a row.
        learning_rate: Peak of AdamW.
        weight_decay: Of AdamW.
        audio_weight: Weight of a speech token in the loss (a text token counts 1).
        code_noise: Share of heard speech tokens that are replaced by a neighbour.
        d_model, n_layers, n_heads, n_kv_heads, d_ff: Size of the model.
        n_ranks: Text tokens.
        context_length: Longest prompt plus reply.
        validate_every: Steps between validations.
        reload_every: Steps after which new codes are looked for.
        seed: Seed of everything random.
    """

    data: str = "data/speech"
    tokenizer: str = "resources/embedded/tokenizer"
    run: str = "runs/lm"
    out: str = "resources/embedded/lm"
    minutes: float = 70.0
    max_steps: int | None = None
    device: str = "cpu"
    n_threads: int = 1
    use_bf16: bool = True
    rows: int = 10
    row_length: int = 384
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    audio_weight: float = 0.35
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
    seed: int = 3


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


def vocabulary_texts() -> list[str]:
    """List what the vocabulary is learned from: the domain, typed forms, the fixed prompts."""
    rng = random.Random(0)
    plain = grammar.all_texts()
    typed = [typed_forms(text, rng) for text in plain[::3]]
    fixed = [system_prompt("speech"), system_prompt("text"), REPLY_MODE, TRANSCRIPTION_MODE]
    return plain + typed + 50 * fixed


def codebook_of(folder: str) -> Tensor:
    """Read the speech tokenizer's codes, (K, D)."""
    path = Path(folder) / "model.safetensors"
    if not path.exists():
        raise ConfigError(f"no speech tokenizer in {folder}: run `antiphon train tokenizer` first")
    return load_file(path)["codebook.weight"].float()


def nearest_codes(codebook: Tensor, n: int = 6) -> Tensor:
    """Give the n nearest other codes of each code, (K, n)."""
    distances = torch.cdist(codebook, codebook)
    distances.fill_diagonal_(float("inf"))
    return distances.topk(n, largest=False).indices


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


class LmTask:
    """State of one training run."""

    def __init__(self, config: LmTaskConfig) -> None:
        self.config = config
        set_threads(config.n_threads)
        self.run = Run(config.run, config.minutes, config.max_steps)
        self.corpus = SpeechCorpus(config.data)
        codebook = codebook_of(config.tokenizer)
        if not (Path(config.out) / "tokenizer.model").exists():
            write_text_vocabulary(config.out, vocabulary_texts(), config.n_ranks, len(codebook))
        self.tokenizer = GlmTextTokenizer.from_pretrained(config.out)
        self.generator = torch.Generator().manual_seed(config.seed)
        with torch.random.fork_rng():
            torch.default_generator.manual_seed(config.seed)
            self.model = GlmForCausalLM(glm_config(config, self.tokenizer))
        self.model.to(torch.device(config.device))  # type: ignore[arg-type]
        if config.device == "cpu":
            self.model.set_attn_implementation("eager")  # faster than SDPA on short rows, measured
        start_from_codebook(self.model, codebook, self.tokenizer.layout.audio_0, self.generator)
        self.numbers = NumberWords(self.tokenizer, config.d_model)
        self.pin_numbers()
        self.builder = SegmentBuilder(
            self.tokenizer, nearest_codes(codebook), config.code_noise, random.Random(config.seed)
        )
        decayed = [p for p in self.model.parameters() if p.ndim >= 2]
        others = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.97))

    def pin_numbers(self) -> None:
        """Keep the number words' embeddings at their values."""
        self.numbers.pin(self.model.model.embed_tokens.weight, self.model.lm_head.weight)

    def resume(self) -> None:
        """Take up an earlier checkpoint, if there is one."""
        state = self.run.resume()
        if state is not None:
            self.model.load_state_dict(state["model"])  # type: ignore[arg-type]
            self.optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]
            self.builder.rng.seed(self.config.seed + self.run.step)
            self.pin_numbers()

    def save(self) -> None:
        """Write a checkpoint."""
        self.run.save({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()})

    def source(self) -> RowSource:
        """Read the codes that exist now."""
        codes = CodeStore(self.config.data).load()
        answers = {r.text: codes[r.id] for r in self.corpus.select("answer") if r.id in codes}
        records = [r for r in self.corpus.select("question") if r.id in codes]
        if not records or not answers:
            raise ConfigError(
                f"no speech tokens in {self.config.data}: run `antiphon train codes` first"
            )
        logger.info("%d questions, %d spoken answers", len(records), len(answers))
        return RowSource(self.builder, records, codes, answers, self.config.row_length)

    def batches(self) -> Iterator[list[Row]]:
        """Yield batches for ever, prepared one ahead; new codes are taken up now and then."""
        with ThreadPoolExecutor(1) as pool:
            while True:
                source = self.source()
                rows = source.batches(self.config.rows)
                waiting = pool.submit(next, rows)
                for _ in range(self.config.reload_every):
                    batch = waiting.result()
                    source.mixture = mixture_at(self.run.fraction)
                    waiting = pool.submit(next, rows)
                    yield batch
                waiting.result()

    def loss(self, rows: list[Row]) -> tuple[Tensor, Tensor, Tensor]:
        """Weighted loss of a batch, and the plain mean losses of text and of speech tokens."""
        device = self.config.device
        ids, targets, positions, groups = (
            torch.stack([getattr(row, name) for row in rows]).to(device)
            for name in ("ids", "targets", "positions", "groups")
        )
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=self.config.use_bf16):
            hidden = self.model.model(
                input_ids=ids,
                attention_mask=attention_mask(groups),
                position_ids=positions,
                use_cache=False,
            ).last_hidden_state
            learned = targets != NO_TARGET
            logits = self.model.lm_head(hidden[learned])
        targets = targets[learned]
        losses = nn.functional.cross_entropy(logits.float(), targets, reduction="none")
        is_audio = targets >= self.tokenizer.layout.audio_0
        weights = torch.where(is_audio, self.config.audio_weight, 1.0)
        loss = (losses * weights).sum() / weights.sum()
        return loss, losses[~is_audio].mean().detach(), losses[is_audio].mean().detach()

    @torch.inference_mode()
    def right_answers(
        self, records: list[Record], codes: dict[str, Codes]
    ) -> tuple[float, Counter[str]]:
        """Share of held-out questions answered rightly (greedy), and right ones by skill."""
        layout, builder = self.tokenizer.layout, self.builder
        prefix = render_system("speech", layout, self.tokenizer)
        noise, builder.noise = builder.noise, 0.0
        prompts = [
            [*prefix, *builder.segment(builder.heard(codes[r.id]), REPLY_MODE, []).ids]
            for r in records
        ]
        builder.noise = noise
        longest = max(map(len, prompts))
        ids = torch.tensor([[layout.stop[0]] * (longest - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        self.model.train(False)
        out = self.model.generate(  # type: ignore[misc]
            ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=13,
            pad_token_id=layout.stop[0],
        )[:, longest:]
        self.model.train()
        right: Counter[str] = Counter()
        for record, row in zip(records, out.tolist(), strict=True):
            n_text = next((i for i, t in enumerate(row) if t >= self.tokenizer.n_ranks), len(row))
            expected = self.tokenizer.encode(record.answer)[:13]
            right[record.skill] += row[:n_text] == expected
        return sum(right.values()) / len(records), right

    @torch.inference_mode()
    def right_results(self, n: int = 128) -> float:
        """Share of reserved sums whose result follows rightly from the sum in text (greedy)."""
        rng = random.Random(self.config.seed)
        right = 0
        self.model.train(False)
        for _ in range(n):
            exchange = grammar.draw(rng, "arithmetic", reserved=True)
            segment = self.builder.recited_sum(exchange.answer)
            logits = self.model(torch.tensor([segment.ids], device=self.config.device)).logits[0]
            right += all(
                target == NO_TARGET or int(best) == target
                for best, target in zip(logits.argmax(-1), segment.targets, strict=True)
            )
        self.model.train()
        return right / n

    def validate(self) -> None:
        """Log how many reserved combinations, in training voices, are answered rightly."""
        self.run.log(right_results=self.right_results())
        codes = CodeStore(self.config.data).load()
        records = [r for r in self.corpus.select("question", "valid") if r.id in codes][:96]
        if records:
            share, by_skill = self.right_answers(records, codes)
            asked = Counter(record.skill for record in records)
            self.run.log(right=share)
            logger.info(
                "right by skill: %s",
                {skill: f"{by_skill[skill]}/{n}" for skill, n in asked.items()},
            )

    def log_losses(self, text_loss: Tensor, audio_loss: Tensor) -> None:
        """Log what the batch had; a batch of recited sums has no speech tokens."""
        losses = {"text_loss": float(text_loss), "audio_loss": float(audio_loss)}
        self.run.log(**{name: loss for name, loss in losses.items() if not math.isnan(loss)})

    def train(self) -> None:
        """Run to the end of the time or steps, then export."""
        self.resume()
        self.model.train()
        batches = self.batches()
        while not self.run.is_over:
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * learning_rate_factor(self.run.fraction)
            loss, text_loss, audio_loss = self.loss(next(batches))
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.pin_numbers()
            self.run.step += 1
            if self.run.step == 1 or self.run.step % LOG_EVERY == 0:
                self.log_losses(text_loss, audio_loss)
            if self.run.step % self.config.validate_every == 0:
                self.validate()
            if self.run.should_save:
                self.save()
        self.save()
        self.validate()
        self.export()
        self.run.plot()

    def export(self) -> None:
        """Write the model in the official ChatGLM layout beside its vocabulary."""
        export_language_model(self.model, Path(self.config.out))
        logger.info("language model written to %s", self.config.out)


def train(config: LmTaskConfig) -> None:
    """Train the language model described by `config` and export it."""
    logger.info("language model: %s", json.dumps(asdict(config)))
    LmTask(config).train()
