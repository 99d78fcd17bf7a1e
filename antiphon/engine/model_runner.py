"""Runs the language model on new tokens of many conversations in one forward pass.

Each row has its own position, and its keys and values lie in a slot. Knows nothing of requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from transformers import GlmForCausalLM

from antiphon.engine.attention import (
    KEY_BLOCK,
    ROW_MULTIPLE,
    attend,
    find_spans,
    pad_rows,
    round_up,
)
from antiphon.engine.cpu_threads import SMALL_MODEL, use_cores_here
from antiphon.engine.device_attention import Look, choose_attention
from antiphon.engine.glm_network import GlmNetwork, heads_of
from antiphon.engine.sampling import move
from antiphon.engine.slot_cache import CacheShape, SlotCache

PREFILL_CHUNK = 512
CPU_PREFILL_CHUNK = 128
"""Prompt tokens computed in one step, so that other replies and cancels need not wait long."""

DECODE_ROWS = 128
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
        look: Attends to what each row may see.
        n_rows: Rows that are not padding.
        length: Tokens of a row that are not padding.
    """

    token_ids: Tensor
    positions: Tensor
    slots: Tensor
    look: Look
    n_rows: int
    length: int

    def attend(self, queries: Tensor, states: Tensor) -> Tensor:
        """Attend in one layer: (B * T, H, D) over its keys and values -> (B * T, H * D)."""
        return self.look(queries.unflatten(0, self.slots.shape), states).flatten(0, 1)


class ModelRunner:
    """The language model with its slot cache; only one thread may use it.

    Attributes:
        network: The model.
        device: Where it lies.
        vocab_size: Rows of its embedding.
        prefill_chunk: Most prompt tokens to run at once.
        decode_rows: Most replies to advance at once.
        cache: Keys and values.
        attention: What attends to all rows at once; None where they are computed exactly.
    """

    def __init__(
        self, model: GlmForCausalLM, n_slots: int, context_length: int, attention: str = "auto"
    ) -> None:
        """Use a loaded model.

        Args:
            model: Its weights.
            n_slots: Conversations whose keys and values are kept.
            context_length: Most tokens of each.
            attention: See `choose_attention`.

        Raises:
            ConfigError: If the attention does not fit the model or the device.
        """
        shape = cache_shape(model, context_length)
        self.network = GlmNetwork(model, shape.capacity)
        self.device = self.network.device
        self.attention = choose_attention(attention, self.network.heads, self.device)
        self.vocab_size = self.network.vocab_size
        on_cpu = self.device.type == "cpu"
        self.prefill_chunk = CPU_PREFILL_CHUNK if on_cpu else PREFILL_CHUNK
        self.decode_rows = CPU_DECODE_ROWS if on_cpu else DECODE_ROWS
        self.cache = SlotCache(shape, n_slots, self.device)
        self._usual_cores = torch.get_num_threads()

    def adopt_thread(self) -> None:
        """Set up the calling thread, the only one from now on, for running this model."""
        if self.device.type == "cpu" and self.network.n_weights < SMALL_MODEL:
            use_cores_here(1, self._usual_cores)

    def warm_up(self) -> None:
        """Run once, so that the first request does not pay for what is set up on first use."""
        self.score(self.run([Row(0, 0, (0, 0))]))
        self.score(self.run([Row(0, 2, (0,))]))
        self.cache.clear(0, 3)

    @torch.inference_mode()
    def run(self, rows: Sequence[Row]) -> Tensor:
        """Run the model on the new tokens of all rows and store their keys and values.

        All go through the products together; attention takes rows of one length at a time.

        Args:
            rows: Of different slots.

        Returns:
            State of the last token of each row, (n_rows, width), for `score`.
        """
        parts = list(rows_by_length(rows).values())
        batches = [self.prepare([rows[place] for place in places]) for places in parts]
        slots = join([batch.slots.flatten() for batch in batches])  # (N,)
        positions = join([batch.positions.flatten() for batch in batches])
        token_ids = join([batch.token_ids.flatten() for batch in batches])
        sizes = [batch.slots.numel() for batch in batches]

        def attend_layer(number: int, queries: Tensor, new: Tensor) -> Tensor:
            self.cache.write(number, slots, positions, new)
            states = self.cache.states[number]
            if len(batches) == 1:
                return batches[0].attend(queries, states)
            pairs = zip(batches, queries.split(sizes), strict=True)
            return torch.cat([batch.attend(part, states) for batch, part in pairs])

        hidden = self.network.hidden(token_ids, positions, attend_layer, self._last_tokens(batches))
        if len(parts) == 1:
            return hidden[: len(rows)]
        order = [place for places in parts for place in places]
        return hidden[torch.tensor(order).argsort()]

    @torch.inference_mode()
    def score(self, hidden: Tensor) -> Tensor:
        """Turn what `run` gave (n, width) into the logits (n, V) of the tokens after it."""
        return self.network.score(pad_rows(hidden))[: len(hidden)]

    def prepare(self, rows: Sequence[Row]) -> Batch:
        """Make tensors of rows that have equally many new tokens.

        Where rows are computed exactly, there is a multiple of `ROW_MULTIPLE` of tokens in all:
        single tokens are padded with rows, longer rows with tokens. Padding goes to a slot that
        nobody reads.
        """
        length, unused = len(rows[0].token_ids), self.cache.padding_slot
        n_missing = -(len(rows) if length == 1 else length) % ROW_MULTIPLE
        if self.attention is not None:
            n_missing = 0
        padded, padding = list(rows), [0] * n_missing
        if length == 1:
            padded, padding = padded + [Row(unused, 0, (0,))] * n_missing, []
        table = torch.tensor(
            [
                [[*row.token_ids, *padding] for row in padded],
                [[*range(row.start, row.start + length), *padding] for row in padded],
                [[row.slot] * length + [unused] * len(padding) for row in padded],
            ]
        )
        token_ids, positions, slots = move(table, self.device)  # (B, T) each
        return Batch(
            token_ids=token_ids,
            positions=positions,
            slots=slots,
            look=self._look(rows, positions, slots),
            n_rows=len(rows),
            length=length,
        )

    def _last_tokens(self, batches: Sequence[Batch]) -> Tensor | None:
        """Find the last token of each row; as padding the first one's again. None for all."""
        if all(batch.slots.shape[1] == 1 for batch in batches):
            return None
        found, start = [], 0
        for batch in batches:
            stride = batch.slots.shape[1]
            found += [start + stride * row + batch.length - 1 for row in range(batch.n_rows)]
            start += batch.slots.numel()
        found += found[:1] * (-len(found) % ROW_MULTIPLE)
        return move(torch.tensor(found), self.device)

    def _look(self, rows: Sequence[Row], positions: Tensor, slots: Tensor) -> Look:
        """Say what each row may see: all up to the position of the query."""
        ends = [row.start + len(row.token_ids) for row in rows]
        if self.attention is not None:
            return self.attention.prepare(slots[:, 0], positions, round_up(max(ends), KEY_BLOCK))
        heads = self.network.heads
        spans = find_spans([row.slot for row in rows], ends, positions, heads)
        return partial(attend, spans=spans)


def join(tensors: Sequence[Tensor]) -> Tensor:
    """Put flat tensors behind each other."""
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


def rows_by_length(rows: Sequence[Row]) -> dict[int, list[int]]:
    """Put the places of rows that have equally many new tokens together."""
    places: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(len(row.token_ids), []).append(place)
    return places


def cache_shape(model: GlmForCausalLM, context_length: int) -> CacheShape:
    """Say what a slot has to hold for a model."""
    n_layers = int(model.config.num_hidden_layers)
    return CacheShape(n_layers, heads_of(model), context_length)
