"""Advances replies by one token: at once and exactly, or in static steps that are read late.

The late one starts a step before the tokens of the one before it are read, so that the device never
waits for the host. Knows nothing of requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from antiphon.engine.attention import KEY_BLOCK
from antiphon.engine.device_attention import DeviceAttention
from antiphon.engine.graph_runner import (
    Action,
    CudaRecorder,
    GraphRunner,
    has_room_to_record,
)
from antiphon.engine.model_runner import ModelRunner, Row
from antiphon.engine.sampling import (
    N_CANDIDATES,
    NO_TOKEN,
    Pick,
    allow_only,
    choose_ids,
    choose_tokens,
    clean_scores,
    move,
    settings_of,
)
from antiphon.engine.static_step import (
    ROW_BUCKETS,
    NextToken,
    StaticStep,
    StepBuffers,
    StepShape,
    shape_of,
)

WARM_KEYS = 2048
"""Steps for conversations up to this long are recorded before the first request."""


USUAL_PICK = Pick("likely", 1.0, 0.8, 0, 0.0, None)


class Flight(Protocol):
    """Tokens on their way."""

    def read(self) -> list[int]:
        """Wait for them; one for each row, with the marks of `choose_ids`."""
        ...


class Decoder(Protocol):
    """Chooses the next tokens of replies.

    Attributes:
        is_late: Whether tokens are better read after the next step has been started.
    """

    is_late: bool

    def decode(self, tokens: Sequence[NextToken]) -> Flight:
        """Run one token of each reply and choose those after them."""
        ...

    def decode_beside(self, chunk: Row, tokens: Sequence[NextToken]) -> tuple[Tensor, Flight]:
        """Do as `decode`, and run a chunk of a prompt, whose `hidden` for `choose` comes first."""
        ...

    def choose(self, hidden: Tensor, slot: int, pick: Pick) -> Flight:
        """Choose the token after a prompt, of which `ModelRunner.run` gave `hidden`, (1, width)."""
        ...

    def warm_up(self, n_rows: int) -> None:
        """Prepare for this many replies at once."""
        ...


@dataclass(frozen=True)
class Landed:
    """Tokens that are there."""

    token_ids: list[int]

    def read(self) -> list[int]:
        """Give them."""
        return self.token_ids


class ExactDecoder:
    """Computes each reply to the bit as if it were alone; tokens are there at once."""

    is_late = False

    def __init__(self, runner: ModelRunner) -> None:
        """Use a model."""
        self._runner = runner

    def decode(self, tokens: Sequence[NextToken]) -> Landed:
        """See `Decoder`."""
        return self._choose(self._runner.run(rows_of(tokens)), [each.pick for each in tokens])

    def decode_beside(self, chunk: Row, tokens: Sequence[NextToken]) -> tuple[Tensor, Landed]:
        """See `Decoder`; all in one pass, which reads the weights once."""
        hidden = self._runner.run([chunk, *rows_of(tokens)])
        return hidden[:1], self._choose(hidden[1:], [each.pick for each in tokens])

    def choose(self, hidden: Tensor, slot: int, pick: Pick) -> Landed:
        """See `Decoder`."""
        return self._choose(hidden, [pick])

    def warm_up(self, n_rows: int) -> None:
        """Do nothing: all is there."""

    def _choose(self, hidden: Tensor, picks: Sequence[Pick]) -> Landed:
        """Choose a token for each row."""
        chosen = choose_tokens(self._runner.score(hidden), picks)
        return Landed([NO_TOKEN if token_id is None else token_id for token_id in chosen])


def rows_of(tokens: Sequence[NextToken]) -> list[Row]:
    """Say what the model is to be run on."""
    return [Row(each.slot, each.position, (each.token_id,)) for each in tokens]


class HostCopy:
    """Tokens that a device has chosen or will choose."""

    def __init__(self, chosen: Tensor) -> None:
        """Begin to copy (n,) ids to the host."""
        on_cpu = chosen.device.type == "cpu"
        self._host = torch.empty(len(chosen), dtype=chosen.dtype, pin_memory=not on_cpu)
        self._host.copy_(chosen, non_blocking=True)
        self._event = None if on_cpu else torch.Event(chosen.device)
        if self._event is not None:
            self._event.record()

    def read(self) -> list[int]:
        """Wait for the device and give them."""
        if self._event is not None:
            self._event.synchronize()
        ids: list[int] = self._host.tolist()
        return ids


class StaticDecoder:
    """Computes replies in static steps, with CUDA graphs where they can be recorded."""

    is_late = True

    def __init__(self, runner: ModelRunner, attention: DeviceAttention) -> None:
        """Use a model whose attention is computed at once."""
        self._runner = runner
        self._attention = attention
        self.buffers = StepBuffers(max(ROW_BUCKETS), runner.cache, runner.vocab_size, runner.device)
        self.graphs: GraphRunner[StepShape] = GraphRunner(self._make_step)
        if runner.network.is_recordable:
            self.graphs = GraphRunner(
                self._make_step,
                CudaRecorder(runner.device),
                lambda: has_room_to_record(runner.device),
            )

    def decode(self, tokens: Sequence[NextToken]) -> HostCopy:
        """See `Decoder`; does not wait for the device."""
        capacity = self._runner.cache.capacity
        shape = shape_of(tokens, capacity, is_padded=self._attention.is_padded)
        step = self._prepare(shape)
        if shape.is_bounded:
            self.buffers.bound(tokens)
        self.buffers.load(tokens, shape.n_rows)
        step()
        return HostCopy(self.buffers.chosen[: len(tokens)])

    def decode_beside(self, chunk: Row, tokens: Sequence[NextToken]) -> tuple[Tensor, HostCopy]:
        """See `Decoder`; one after the other, since the shapes of static steps are fixed."""
        return self._runner.run([chunk]), self.decode(tokens)

    @torch.inference_mode()
    def choose(self, hidden: Tensor, slot: int, pick: Pick) -> HostCopy:
        """See `Decoder`; does not wait for the device."""
        scores = clean_scores(self._runner.score(hidden))
        if pick.allowed is not None:
            allow_only(scores[0], pick.allowed)
        settings = move(settings_of([pick]), scores.device)
        chosen = choose_ids(scores, settings, {pick.kind}, N_CANDIDATES)
        self.buffers.latest[slot] = chosen[0].clamp(min=0)
        return HostCopy(chosen)

    def warm_up(self, n_rows: int) -> None:
        """Record the steps of the usual way of choosing, for up to `n_rows` replies."""
        capacity = self._runner.cache.capacity
        most = next((size for size in ROW_BUCKETS if size >= n_rows), max(ROW_BUCKETS))
        for rows in (size for size in ROW_BUCKETS if size <= most):
            shapes = {
                shape_of(
                    [NextToken(0, position, 0, USUAL_PICK)] * rows,
                    capacity,
                    is_padded=self._attention.is_padded,
                )
                for position in range(0, min(capacity, WARM_KEYS), KEY_BLOCK)
            }
            for shape in sorted(shapes, key=lambda shape: shape.n_keys):
                self._prepare(shape)

    def _prepare(self, shape: StepShape) -> Action:
        """Find a step; recording runs it, on padding only."""
        if shape not in self.graphs:
            if shape.is_bounded:
                self.buffers.bound(())
            self.buffers.load((), shape.n_rows)
        return self.graphs.find(shape)

    def _make_step(self, shape: StepShape) -> Action:
        """Build the step of a shape."""
        runner = self._runner
        step = StaticStep(runner.network, runner.cache, self._attention, self.buffers, shape)
        return step.compute


def make_decoder(runner: ModelRunner) -> Decoder:
    """Give the decoder that fits how a model attends."""
    if runner.attention is None:
        return ExactDecoder(runner)
    return StaticDecoder(runner, runner.attention)
