"""Runs the language model on new tokens of many conversations in one forward pass.

The weights and modules are those of transformers' GlmForCausalLM; the pass itself is ours, because
each row has its own position and its keys and values lie in slots. Knows nothing of requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GlmConfig, GlmForCausalLM

from antiphon.engine.attention import (
    ROW_MULTIPLE,
    Reaches,
    attend,
    attend_at_once,
    find_reaches,
    pad_rows,
)
from antiphon.engine.cpu_threads import SMALL_MODEL, use_cores_here
from antiphon.engine.slot_cache import CacheShape, SlotCache

PREFILL_CHUNK = 512
CPU_PREFILL_CHUNK = 128
"""Prompt tokens computed in one step, so that other replies and cancels need not wait long."""

DECODE_ROWS = 64
CPU_DECODE_ROWS = 16
"""Replies advanced in one step; where more are ready, the most urgent ones."""


@dataclass(frozen=True)
class Row:
    """New tokens of one conversation.

    Attributes:
        slot: Where its keys and values lie.
        start: Number of tokens that are there already.
        token_ids: The ones that follow.
    """

    slot: int
    start: int
    token_ids: Sequence[int]


@dataclass(frozen=True)
class Batch:
    """Rows as tensors, padded; see `ModelRunner.prepare`.

    Attributes:
        token_ids: (B, T).
        positions: Of each token in its conversation, (B, T).
        slots: Where each token's keys and values go, (B, T).
        reaches: What each row may see.
        last: Index of the last token of each row, (n_rows,), in the flattened batch.
    """

    token_ids: Tensor
    positions: Tensor
    slots: Tensor
    reaches: Reaches
    last: Tensor


class ModelRunner:
    """The language model with its slot cache; only one thread may use it.

    Attributes:
        device: Where the model lies.
        vocab_size: Rows of its embedding.
        prefill_chunk: Most prompt tokens to run at once.
        decode_rows: Most replies to advance at once.
        cache: Keys and values.
        attends_by_row: Whether attention is computed row by row, or at once as GPUs like it.
    """

    def __init__(self, model: GlmForCausalLM, n_slots: int, context_length: int) -> None:
        """Use a loaded model.

        Args:
            model: Its weights.
            n_slots: Conversations whose keys and values are kept.
            context_length: Most tokens of each.
        """
        model.train(False)
        shape = cache_shape(model, context_length)
        self._model = model
        self._head_size = shape.head_size
        self._group_size = int(model.config.num_attention_heads) // shape.n_key_heads
        self._dtype = shape.dtype
        self.device: torch.device = model.model.embed_tokens.weight.device
        self.vocab_size = int(model.config.vocab_size)
        on_cpu = self.attends_by_row = self.device.type == "cpu"
        self.prefill_chunk = CPU_PREFILL_CHUNK if on_cpu else PREFILL_CHUNK
        self.decode_rows = CPU_DECODE_ROWS if on_cpu else DECODE_ROWS
        self.cache = SlotCache(shape, n_slots, self.device)
        self._cos, self._sin = rotary_tables(model, shape.capacity)

    def adopt_thread(self) -> None:
        """Set up the calling thread, the only one from now on, for running this model."""
        n_weights = sum(weight.numel() for weight in self._model.parameters())
        if self.device.type == "cpu" and n_weights < SMALL_MODEL:
            use_cores_here(1)

    def warm_up(self) -> None:
        """Run once, so that the first request does not pay for what is set up on first use."""
        self.score(self.run([Row(0, 0, (0, 0))]))
        self.score(self.run([Row(0, 2, (0,))]))
        self.cache.clear(0, 3)

    @torch.inference_mode()
    def run(self, rows: Sequence[Row]) -> Tensor:
        """Run the model on the new tokens of all rows and store their keys and values.

        Args:
            rows: Of different slots; all have equally many new tokens.

        Returns:
            Hidden state of the last token of each row, (n_rows, D).
        """
        batch = self.prepare(rows)
        positions = batch.positions.flatten()  # (B * T,)
        cos, sin = self._cos[positions, None], self._sin[positions, None]  # (B * T, 1, head size)
        trunk = self._model.model
        x = trunk.embed_tokens(batch.token_ids.flatten())  # (B * T, D)
        for number, layer in enumerate(trunk.layers):
            x = x + self._attention(number, layer.input_layernorm(x), batch, cos, sin)
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return trunk.norm(x[batch.last])

    @torch.inference_mode()
    def score(self, hidden: Tensor) -> Tensor:
        """Turn hidden states (n, D) into the logits (n, V) of the tokens after them."""
        return self._model.lm_head(pad_rows(hidden))[: len(hidden)]

    def prepare(self, rows: Sequence[Row]) -> Batch:
        """Make tensors of rows, with a multiple of `ROW_MULTIPLE` of tokens in all.

        Single tokens are padded with rows, longer rows with tokens. Padding goes to a slot that
        nobody reads.
        """
        length, unused = len(rows[0].token_ids), self.cache.padding_slot
        padded, padding = list(rows), [0] * (-length % ROW_MULTIPLE)
        if length == 1:
            padded += [Row(unused, 0, (0,))] * (-len(rows) % ROW_MULTIPLE)
            padding = []
        table = torch.tensor(
            [
                [[*row.token_ids, *padding] for row in padded],
                [[*range(row.start, row.start + length), *padding] for row in padded],
                [[row.slot] * length + [unused] * len(padding) for row in padded],
            ]
        )
        token_ids, positions, slots = table.to(self.device)  # (B, T) each
        return Batch(
            token_ids=token_ids,
            positions=positions,
            slots=slots,
            reaches=find_reaches(
                [row.slot for row in rows],
                [row.start + length for row in rows],
                positions,
                self._group_size,
                self._dtype,
            ),
            last=torch.arange(len(rows), device=self.device) * slots.shape[1] + length - 1,
        )

    def _attention(self, number: int, x: Tensor, batch: Batch, cos: Tensor, sin: Tensor) -> Tensor:
        """Store the new keys and values of one layer and attend to all; x is (B * T, D)."""
        attention = self._model.model.layers[number].self_attn
        queries, keys, values = (
            project(x).unflatten(-1, (-1, self._head_size))  # (B * T, heads, head size)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        slots, positions = batch.slots.flatten(), batch.positions.flatten()
        self.cache.write(number, slots, positions, rotate(keys, cos, sin), values)
        queries = rotate(queries, cos, sin).unflatten(0, batch.slots.shape)  # (B, T, H, head size)
        cached = self.cache.keys[number], self.cache.values[number]
        if self.attends_by_row:
            mixed = attend(queries, *cached, batch.reaches)
        else:
            mixed = attend_at_once(queries, *cached, batch.reaches, batch.slots[:, 0])
        return attention.o_proj(mixed.flatten(0, 1))


def cache_shape(model: GlmForCausalLM, context_length: int) -> CacheShape:
    """Say what a slot has to hold for a model."""
    config: GlmConfig = model.config
    return CacheShape(
        n_layers=config.num_hidden_layers,
        n_key_heads=config.num_key_value_heads or config.num_attention_heads,
        head_size=config.head_dim or config.hidden_size // config.num_attention_heads,
        n_tokens=context_length,
        dtype=model.model.embed_tokens.weight.dtype,
    )


def rotary_tables(model: GlmForCausalLM, length: int) -> tuple[Tensor, Tensor]:
    """Compute cosines and signed sines of all positions, (length, head size) each.

    Glm turns neighbouring numbers of the first part of a head against each other (Su et al. 2021,
    section 3.4.2); the rest, with angle 0, stays as it is.
    """
    weight = model.model.embed_tokens.weight
    positions = torch.arange(length, device=weight.device)[None]
    shape = cache_shape(model, length)
    tables = []
    for table, rest in zip(model.model.rotary_emb(weight, positions), (1.0, 0.0), strict=True):
        half = table[0, :, : table.shape[-1] // 2]  # the second half repeats the first
        filled = half.new_full((length, shape.head_size), rest)
        filled[:, : table.shape[-1]] = half.repeat_interleave(2, dim=-1)
        tables.append(filled)
    cos, sin = tables
    sin[:, 0::2] *= -1
    return cos, sin


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (a, b) in x (N, H, D) to (a cos - b sin, b cos + a sin); see above."""
    swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)  # (N, H, D), b before a
    return x * cos + swapped * sin
