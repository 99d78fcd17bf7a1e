"""Keys and values of the tokens a model has seen: growing buffers, rewinding, idle sessions.

Knows nothing of requests, sampling or threads: whoever holds a `KVCache` owns it.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

GROWTH = 256
"""Buffers are at least this many tokens long, and double when they are full."""


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer in buffers with room at the end.

    transformers' own layer copies everything for each new token; this one writes in place.
    """

    def __init__(self) -> None:
        """Make an empty layer; its buffers come with the first tokens."""
        super().__init__()  # type: ignore[no-untyped-call]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, H, T, D); return all of them, (B, H, T_all, D)."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._key_buffer, self._value_buffer = key_states[..., :0, :], value_states[..., :0, :]
        if end > self._key_buffer.shape[-2]:
            self._key_buffer = grow(self._key_buffer, start, end)
            self._value_buffer = grow(self._value_buffer, start, end)
        self._key_buffer[..., start:end, :] = key_states
        self._value_buffer[..., start:end, :] = value_states
        self.keys = self._key_buffer[..., :end, :]
        self.values = self._value_buffer[..., :end, :]
        return self.keys, self.values


def grow(buffer: Tensor, used: int, needed: int) -> Tensor:
    """Copy the first `used` tokens of a buffer (B, H, T, D) into one for `needed` or more."""
    *outer, length, width = buffer.shape
    larger = buffer.new_empty((*outer, max(needed, 2 * length, GROWTH), width))
    larger[..., :used, :] = buffer[..., :used, :]
    return larger


class KVCache:
    """What one conversation left in the model, and the token ids it stands for.

    Attributes:
        token_ids: The ids whose keys and values are stored, in order.
    """

    def __init__(self, n_layers: int) -> None:
        """Make an empty cache for a model of `n_layers` layers."""
        self.token_ids: list[int] = []
        self.layers = Cache(layers=[GrowingLayer() for _ in range(n_layers)])

    def __len__(self) -> int:
        """Count the stored tokens."""
        return len(self.token_ids)

    def append(self, token_ids: Sequence[int]) -> None:
        """Note ids that the model has just been run on."""
        self.token_ids.extend(token_ids)

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        self.layers.crop(min(0, length - self.layers.get_seq_length()))
        del self.token_ids[length:]

    def keep_common_prefix(self, token_ids: Sequence[int]) -> int:
        """Forget what is not the beginning of a new prompt.

        Args:
            token_ids: The new prompt. At least its last token is left to compute, because its
                scores are needed.

        Returns:
            Number of tokens kept.
        """
        limit = min(len(self.token_ids), len(token_ids) - 1)
        length = 0
        while length < limit and self.token_ids[length] == token_ids[length]:
            length += 1
        self.rewind(length)
        return length


class IdleCaches:
    """Caches of sessions that wait for their next turn; the longest idle ones are dropped first."""

    def __init__(self, max_sessions: int, max_tokens: int) -> None:
        """Keep at most `max_sessions` caches that hold at most `max_tokens` tokens together."""
        self._max_sessions = max_sessions
        self._max_tokens = max_tokens
        self._caches: OrderedDict[str, KVCache] = OrderedDict()

    def __len__(self) -> int:
        """Count the idle sessions."""
        return len(self._caches)

    @property
    def n_tokens(self) -> int:
        """Tokens stored in all idle sessions."""
        return sum(len(cache) for cache in self._caches.values())

    def take(self, session_id: str) -> KVCache | None:
        """Hand over the cache of a session; it is no longer idle."""
        return self._caches.pop(session_id, None)

    def put(self, session_id: str, cache: KVCache) -> None:
        """Keep the cache of a session until its next turn."""
        self._caches.pop(session_id, None)
        self._caches[session_id] = cache
        while len(self._caches) > self._max_sessions or self.n_tokens > self._max_tokens:
            self._caches.popitem(last=False)

    def clear(self) -> None:
        """Drop all."""
        self._caches.clear()
