"""One token of many replies, computed from and into buffers that stay where they are.

All its shapes depend on its `StepShape` alone and nothing waits for the device, so that a CUDA
graph can record it; without one it computes the same. Knows nothing of requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.engine.device_attention import DeviceAttention
from antiphon.engine.glm_network import GlmNetwork
from antiphon.engine.sampling import N_CANDIDATES, Kind, Pick, choose_ids, clean_scores
from antiphon.engine.slot_cache import SlotCache

ROW_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 192, 224, 256)
LEAST_KEYS = 512
"""Keys are read up to this number, or its double, and so on."""

LATEST = -1
"""In place of a token id: the one chosen last for this slot, which only the device knows yet."""

ALL_KINDS: frozenset[Kind] = frozenset({"greedy", "all", "likely"})


@dataclass(frozen=True)
class NextToken:
    """A reply that is to be advanced by one token.

    Attributes:
        slot: Where its keys and values lie.
        position: Of the token to run.
        token_id: That token, or `LATEST`.
        pick: How to choose the token after it.
    """

    slot: int
    position: int
    token_id: int
    pick: Pick


@dataclass(frozen=True)
class StepShape:
    """All that the shapes of a step depend on.

    Attributes:
        n_rows: Replies, padding included.
        n_keys: Keys to look at.
        kinds: Ways of choosing among them: one, or `ALL_KINDS`.
        is_bounded: Whether some may say only certain ids.
    """

    n_rows: int
    n_keys: int
    kinds: frozenset[Kind]
    is_bounded: bool


def shape_of(tokens: Sequence[NextToken], capacity: int, *, is_padded: bool) -> StepShape:
    """Find the smallest shape that holds some replies.

    Args:
        tokens: At least one, at most the largest of `ROW_BUCKETS`.
        capacity: Keys of a slot.
        is_padded: See `DeviceAttention`; where it is not, no key is read in vain.
    """
    n_rows = next(size for size in ROW_BUCKETS if size >= len(tokens))
    n_keys = LEAST_KEYS if is_padded else capacity
    while n_keys <= max(token.position for token in tokens):
        n_keys *= 2
    kinds = frozenset(token.pick.kind for token in tokens)
    return StepShape(
        n_rows=n_rows,
        n_keys=min(n_keys, capacity),
        kinds=kinds if len(kinds) == 1 else ALL_KINDS,
        is_bounded=any(token.pick.allowed is not None for token in tokens),
    )


class StepBuffers:
    """What steps of all shapes read and write.

    Attributes:
        table: For each row slot, position, token id or `LATEST`, temperature, top-p, top-k and
            chance, (rows, 7) float64, which holds all ids exactly.
        chosen: What was chosen for each row, with the marks of `choose_ids`, (rows,).
        latest: The token chosen last for each slot, (n_slots + 1,).
        is_banned: Ids that the reply in a slot may not say, (n_slots + 1, V); None until needed.
    """

    def __init__(
        self, n_rows: int, cache: SlotCache, vocab_size: int, device: torch.device
    ) -> None:
        """Allocate everything but `is_banned`."""
        self.table = torch.zeros(n_rows, 7, dtype=torch.float64, device=device)
        self.chosen = torch.zeros(n_rows, dtype=torch.int64, device=device)
        self.latest = torch.zeros(cache.n_slots + 1, dtype=torch.int64, device=device)
        self.is_banned: Tensor | None = None
        self._padding = (float(cache.padding_slot), 0.0, 0.0, 0.0, 1.0, 0.0, 0.0)
        self._size = (cache.n_slots + 1, vocab_size)
        self._bounds: dict[int, Tensor] = {}

    def load(self, tokens: Sequence[NextToken], n_rows: int) -> None:
        """Fill the table, with padding behind the tokens; does not wait for the device."""
        rows = [row_of(token) for token in tokens]
        rows += [self._padding] * (n_rows - len(rows))
        table = torch.tensor(rows, dtype=torch.float64)
        if self.table.device.type != "cpu":
            table = table.pin_memory()
        self.table[:n_rows].copy_(table, non_blocking=True)

    def bound(self, tokens: Sequence[NextToken]) -> None:
        """See to it that the rows of `is_banned` are those of these replies."""
        if self.is_banned is None:
            self.is_banned = torch.zeros(self._size, dtype=torch.bool, device=self.table.device)
        for token in tokens:
            allowed = token.pick.allowed
            if self._bounds.get(token.slot) is allowed:
                continue
            banned = self.is_banned[token.slot]
            banned.fill_(allowed is not None)
            self._bounds.pop(token.slot, None)
            if allowed is not None:
                banned[allowed] = False
                self._bounds[token.slot] = allowed


def row_of(token: NextToken) -> tuple[float, ...]:
    """Write a row of the table of `StepBuffers`."""
    pick = token.pick
    place = float(token.slot), float(token.position), float(token.token_id)
    return (*place, pick.temperature, pick.top_p, float(pick.top_k), pick.chance)


class StaticStep:
    """The step of one shape."""

    def __init__(
        self,
        network: GlmNetwork,
        cache: SlotCache,
        attention: DeviceAttention,
        buffers: StepBuffers,
        shape: StepShape,
    ) -> None:
        """Compute `shape` with a model and its cache."""
        self._network, self._cache, self._attention = network, cache, attention
        self._buffers, self._shape = buffers, shape

    @torch.inference_mode()
    def compute(self) -> None:
        """Run the tokens of the table, store keys and values, and choose the tokens after them."""
        buffers, shape = self._buffers, self._shape
        table = buffers.table[: shape.n_rows]
        slots, positions, given = table[:, :3].long().unbind(1)  # (B,) each
        token_ids = torch.where(given == LATEST, buffers.latest[slots], given)
        scores = clean_scores(self.logits(token_ids, slots, positions))
        if shape.is_bounded:
            assert buffers.is_banned is not None
            scores.masked_fill_(buffers.is_banned[slots], float("-inf"))
        chosen = choose_ids(scores, table[:, 3:], shape.kinds, N_CANDIDATES)
        buffers.latest[slots] = chosen.clamp(min=0)
        buffers.chosen[: shape.n_rows] = chosen

    def logits(self, token_ids: Tensor, slots: Tensor, positions: Tensor) -> Tensor:
        """Run one token a row, (B,) each; gives the logits of the tokens after them, (B, V)."""
        look = self._attention.prepare(slots, positions[:, None], self._shape.n_keys)

        def attend(number: int, queries: Tensor, new: Tensor) -> Tensor:
            self._cache.write(number, slots, positions, new)
            return look(queries[:, None], self._cache.states[number])[:, 0]

        return self._network.score(self._network.hidden(token_ids, positions, attend))
