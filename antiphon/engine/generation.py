"""One request inside the worker: its conversation, its sampler and what is left of its prompt.

Knows nothing of queues, threads or other requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.engine.base import FinishReason, TokenChunk
from antiphon.engine.model_runner import Row
from antiphon.engine.policy import Progress
from antiphon.engine.sampling import Pick, Sampler
from antiphon.engine.slot_pool import Conversation
from antiphon.engine.static_step import LATEST, NextToken
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

    A token that is being computed and has not been read is in flight.

    Attributes:
        request: What was asked.
        conversation: The tokens run so far, and the slot that holds them.
        progress: How far the reply is.
        started_at: When it began to run.
        paused_at: Since when its reader has been too slow to go on.
        round: What is in flight and left in an earlier round is not wanted any more.
    """

    def __init__(self, request: Request, conversation: Conversation, now: float) -> None:
        """Begin; what `conversation` shares with the prompt is not computed again."""
        self.request = request
        self.conversation = conversation
        self.progress = Progress(request.submitted_at)
        self.started_at = now
        self.paused_at: float | None = None
        self.round = 0
        self._n_flying = 0
        self._pending: Sequence[int] = request.prompt[
            conversation.keep_common_prefix(request.prompt) :
        ]

    @property
    def is_reading(self) -> bool:
        """Whether tokens of the prompt are to be run before a token of the reply can be."""
        return len(self._pending) > 1

    @property
    def can_advance(self) -> bool:
        """Whether more can be computed: there are tokens left to say, and room for them."""
        n_left = self.request.max_new_tokens - self.progress.n_tokens
        return min(n_left, self.request.outbox.room) > self._n_flying

    def next_row(self, limit: int) -> Row:
        """Say which tokens of the prompt to run next, at most `limit`."""
        conversation = self.conversation
        return Row(conversation.slot, len(conversation.token_ids), self._pending[:limit])

    def has_run(self, row: Row) -> None:
        """Note that the model was run on what `next_row` gave."""
        self.conversation.append(row.token_ids)
        self._pending = self._pending[len(row.token_ids) :]

    @property
    def has_read_all(self) -> bool:
        """Whether nothing of the prompt is left to run."""
        return not self._pending

    def next_token(self) -> NextToken:
        """Say which token to run next, and how to choose the one after it."""
        position = len(self.conversation.token_ids)
        token_id = LATEST
        if self._n_flying:
            position += len(self._pending) + self._n_flying - 1
        else:
            (token_id,) = self._pending
        return NextToken(self.conversation.slot, position, token_id, self.next_pick())

    def next_pick(self) -> Pick:
        """Say how to choose the first token that is not yet in flight."""
        return self.request.sampler.pick(self.progress.n_tokens + self._n_flying)

    def take_off(self, n_written: int) -> None:
        """Note that a token is in flight, and how many places of the slot are written by then."""
        self._n_flying += 1
        self.conversation.note_written(n_written)

    def land(self) -> None:
        """Note that the token run longest ago has brought the one after it."""
        self._n_flying -= 1
        self.conversation.append(self._pending)
        self._pending = ()

    def call_back(self) -> None:
        """Want nothing of what is in flight; `next_row` gives the last token that is known."""
        self.round += 1
        self._n_flying = 0
        if not self._pending:
            last = self.conversation.token_ids[-1]
            self.conversation.rewind(len(self.conversation.token_ids) - 1)
            self._pending = (last,)

    def say(self, token_id: int) -> TokenChunk:
        """Take the token that follows all that have run."""
        self._pending = (token_id,)
        return TokenChunk((token_id,), self._finish_reason(token_id))

    def _finish_reason(self, token_id: int) -> FinishReason | None:
        """Tell whether the reply ends with this token, and why."""
        if token_id in self.request.stop_ids:
            return "stop"
        is_last = self.progress.n_tokens + 1 >= self.request.max_new_tokens
        return "length" if is_last else None
