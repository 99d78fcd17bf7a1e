"""Which conversation lies in which slot: reuse from turn to turn, rewinding, dropping idle ones.

Knows nothing of requests, sampling or threads; whoever has taken a conversation owns its slot.
"""

from collections import OrderedDict
from collections.abc import Sequence

from antiphon.engine.slot_cache import SlotCache


class Conversation:
    """A slot and the tokens whose keys and values lie in it.

    Attributes:
        slot: Number of the slot.
        token_ids: The tokens, in order.
        n_written: Most tokens that ever lay there.
    """

    def __init__(self, slot: int) -> None:
        """Begin with an empty slot."""
        self.slot = slot
        self.token_ids: list[int] = []
        self.n_written = 0

    def append(self, token_ids: Sequence[int]) -> None:
        """Note tokens that the model has just been run on."""
        self.token_ids.extend(token_ids)
        self.note_written(len(self.token_ids))

    def note_written(self, length: int) -> None:
        """Note that something lies in the first `length` places, whatever it is."""
        self.n_written = max(self.n_written, length)

    def keep_common_prefix(self, prompt: Sequence[int]) -> int:
        """Forget what is not the beginning of a new prompt.

        Args:
            prompt: At least its last token is left to compute, because its scores are needed.

        Returns:
            Number of tokens kept.
        """
        length = min(self.count_common(prompt), len(prompt) - 1)
        self.rewind(length)
        return length

    def count_common(self, token_ids: Sequence[int]) -> int:
        """Count the tokens from the start that are those of another sequence."""
        limit = min(len(self.token_ids), len(token_ids))
        length = 0
        while length < limit and self.token_ids[length] == token_ids[length]:
            length += 1
        return length

    def rewind(self, length: int) -> None:
        """Forget all tokens but the first `length`."""
        del self.token_ids[length:]


class SlotPool:
    """Hands out the slots of a cache; slots that nobody needs keep idle conversations."""

    def __init__(self, cache: SlotCache) -> None:
        """Begin with all slots free."""
        self._cache = cache
        self._free = list(reversed(range(cache.n_slots)))
        self._idle: OrderedDict[str, Conversation] = OrderedDict()

    @property
    def n_free(self) -> int:
        """Slots with nothing in them."""
        return len(self._free)

    @property
    def n_idle(self) -> int:
        """Slots with a conversation that waits for its next turn."""
        return len(self._idle)

    def take(self, session_id: str | None) -> Conversation:
        """Hand over the conversation of a session, or else an empty one.

        Where no slot is free, the conversation that has been idle for longest is forgotten. There
        must be a slot that is free or idle.
        """
        if session_id is not None and session_id in self._idle:
            return self._idle.pop(session_id)
        if not self._free:
            _, oldest = self._idle.popitem(last=False)
            self.drop(oldest)
        return Conversation(self._free.pop())

    def keep(self, session_id: str, conversation: Conversation) -> None:
        """Keep the conversation of a session for its next turn, in place of an earlier one."""
        if session_id in self._idle:
            self.drop(self._idle.pop(session_id))
        self._idle[session_id] = conversation

    def drop(self, conversation: Conversation) -> None:
        """Forget a conversation and free its slot."""
        self._cache.clear(conversation.slot, conversation.n_written)
        self._free.append(conversation.slot)
