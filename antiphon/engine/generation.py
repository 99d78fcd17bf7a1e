"""One request inside the worker: its conversation, its sampler and what is left of its prompt.

Knows nothing of queues, threads or other requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.engine.base import FinishReason, TokenChunk
from antiphon.engine.model_runner import Row
from antiphon.engine.policy import Progress
from antiphon.engine.sampling import Sampler
from antiphon.engine.slot_pool import Conversation
from antiphon.engine.token_stream import Outbox


@dataclass(frozen=True)
class Request:
    """A checked request.

    Attributes:
        sampler: Chooses its tokens.
        stop_ids: Ids that end the reply.
        max_new_tokens: As asked, or less where the context ends before.
        submitted_at: When it came, on the worker's clock.
    """

    request_id: str
    session_id: str | None
    prompt: tuple[int, ...]
    sampler: Sampler
    stop_ids: frozenset[int]
    max_new_tokens: int
    submitted_at: float
    outbox: Outbox


class Generation:
    """A running request, advanced step by step.

    Attributes:
        request: What was asked.
        conversation: The tokens run so far, and the slot that holds them.
        progress: How far the reply is.
        started_at: When it began to run.
        paused_at: Since when its reader has been too slow to go on.
    """

    def __init__(self, request: Request, conversation: Conversation, now: float) -> None:
        """Begin; what `conversation` shares with the prompt is not computed again."""
        self.request = request
        self.conversation = conversation
        self.progress = Progress(request.submitted_at)
        self.started_at = now
        self.paused_at: float | None = None
        self._pending: Sequence[int] = request.prompt[
            conversation.keep_common_prefix(request.prompt) :
        ]

    @property
    def n_pending(self) -> int:
        """Tokens to run before the next one can be chosen; more than 1 only in the prompt."""
        return len(self._pending)

    def next_row(self, limit: int) -> Row:
        """Say what to run next, at most `limit` tokens."""
        conversation = self.conversation
        return Row(conversation.slot, len(conversation.token_ids), self._pending[:limit])

    def has_run(self, row: Row) -> None:
        """Note that the model was run on what `next_row` gave."""
        self.conversation.append(row.token_ids)
        self._pending = self._pending[len(row.token_ids) :]

    def say(self, token_id: int) -> TokenChunk:
        """Take the token that follows all pending ones."""
        self._pending = (token_id,)
        return TokenChunk((token_id,), self._finish_reason(token_id))

    def _finish_reason(self, token_id: int) -> FinishReason | None:
        """Tell whether the reply ends with this token, and why."""
        if token_id in self.request.stop_ids:
            return "stop"
        is_last = self.progress.n_tokens + 1 >= self.request.max_new_tokens
        return "length" if is_last else None
