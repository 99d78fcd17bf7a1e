"""The replies under way: each step runs one chunk of one prompt and one token of all the others.

Knows nothing of threads or of requests that wait. Only the worker touches it.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from antiphon.engine.base import TokenChunk
from antiphon.engine.decoder import Decoder, Flight
from antiphon.engine.generation import Generation, Request
from antiphon.engine.model_runner import ModelRunner, Row
from antiphon.engine.policy import PlaybackPolicy
from antiphon.engine.sampling import MANY_NEEDED, NO_TOKEN, choose_tokens
from antiphon.engine.slot_pool import SlotPool
from antiphon.engine.static_step import NextToken
from antiphon.engine.token_stream import Bell, Item
from antiphon.engine.warm_up import WarmUp
from antiphon.errors import AntiphonError, EngineError

logger = logging.getLogger(__name__)

READER_TIMEOUT_S = 60.0
"""A reply whose reader takes nothing for so long, while its buffer is full, ends with an error."""

WARM_UP_SLACK_S = 1.0
"""Warm-ups run only while every reply has sound for longer than this."""

OnEnd = Callable[[Generation, Item], None]


@dataclass(frozen=True)
class Launch:
    """Tokens in flight, whose they are, and their rounds at the start (`Generation.round`)."""

    flight: Flight
    generations: Sequence[Generation]
    rounds: Sequence[int]


class RunningBatch:
    """Advances replies together, each in its own slot.

    Where the decoder is late, the tokens of a step are read after the next one has begun. What that
    one computed for replies that have ended is not read: it lies where nobody looks, in a slot that
    whoever gets it next overwrites before he looks there.

    A reply whose buffer is full is paused: it keeps its slot, but takes no part in steps.

    Attributes:
        generated_tokens: Tokens generated since the start.
    """

    def __init__(
        self, runner: ModelRunner, decoder: Decoder, policy: PlaybackPolicy, on_end: OnEnd
    ) -> None:
        """Begin empty.

        Args:
            runner: The model.
            decoder: Chooses tokens with it.
            policy: Who goes first.
            on_end: Told of each reply that has left, with its last item, which it delivers.
        """
        self.generated_tokens = 0
        self._runner = runner
        self._decoder = decoder
        self._policy = policy
        self._on_end = on_end
        self._pool = SlotPool(runner.cache)
        self._running: list[Generation] = []
        self._flying: list[Launch] = []
        self._bell = Bell()

    def __len__(self) -> int:
        """Count the replies."""
        return len(self._running)

    @property
    def n_free_slots(self) -> int:
        """Slots that hold nothing."""
        return self._pool.n_free

    @property
    def n_idle_slots(self) -> int:
        """Slots that hold a conversation between two turns."""
        return self._pool.n_idle

    @property
    def can_advance(self) -> bool:
        """Whether a step would do something."""
        return bool(self._flying) or any(
            generation.can_advance or generation.request.outbox.is_cancelled
            for generation in self._running
        )

    @property
    def has_time_to_spare(self) -> bool:
        """Whether no reply would be missed if something else ran first."""
        latest = time.monotonic() + WARM_UP_SLACK_S
        ready = (each for each in self._running if each.request.outbox.has_room)
        return all(self._policy.deadline(each.progress) > latest for each in ready)

    def add(self, request: Request) -> None:
        """Start a request; there must be fewer than there are slots."""
        conversation = self._pool.take(request.session_id)
        self._running.append(Generation(request, conversation, time.monotonic()))

    def step(self) -> None:
        """End what is over, run one chunk of the most urgent prompt and one token of others."""
        self._drop_unwanted(time.monotonic())
        launched = self._launch()
        if self._decoder.is_late:
            launched, self._flying = self._flying, launched
        try:
            for launch in launched:
                self._land(launch)
        finally:
            self._bell.ring()

    def warm_up(self, warm_up: WarmUp) -> bool:
        """Run one chunk of a prompt that will come, in the slot of its session between two turns.

        The session may not be running. Running replies keep their slots: when they have them all,
        nothing is done.

        Returns:
            Whether there is nothing left to do.
        """
        if not self._pool.n_free + self._pool.n_idle:
            return True
        conversation = self._pool.take(warm_up.session_id)
        n_known = conversation.count_common(warm_up.token_ids)
        chunk = warm_up.token_ids[n_known : n_known + self._runner.prefill_chunk]
        if chunk:
            conversation.rewind(n_known)
            conversation.append(chunk)  # first, so that all is wiped should it fail
            try:
                self._runner.run([Row(conversation.slot, n_known, chunk)])
            except Exception:
                logger.exception("a warm-up failed; its session's next prompt is computed anew")
                self._pool.drop(conversation)
                return True
        self._pool.keep(warm_up.session_id, conversation)
        return n_known + len(chunk) == len(warm_up.token_ids)

    def _drop_unwanted(self, now: float) -> None:
        """End the replies that nobody wants any more or nobody reads."""
        for generation in tuple(self._running):
            outbox = generation.request.outbox
            if outbox.has_room:
                generation.paused_at = None
            elif generation.paused_at is None:
                generation.paused_at = now
            if outbox.is_cancelled:
                self._finish(generation, TokenChunk((), "cancelled"))
            elif generation.paused_at is not None and now - generation.paused_at > READER_TIMEOUT_S:
                self._finish(generation, unread_error())

    def _launch(self) -> list[Launch]:
        """Begin to compute what is to come next."""
        ready = [generation for generation in self._running if generation.can_advance]
        prompts = [generation for generation in ready if generation.is_reading]
        replies = [generation for generation in ready if not generation.is_reading]
        if len(replies) > self._runner.decode_rows:
            replies = self._policy.most_urgent(replies, self._runner.decode_rows)
        replies.sort(key=lambda generation: generation.conversation.slot)  # see `group_rows`
        if not prompts:
            return self._launch_replies(replies)
        [prompt] = self._policy.most_urgent(prompts, 1)
        if replies:
            together = self._launch_together(prompt, replies)
            if together is not None:
                return together
        return self._launch_prompt(prompt) + self._launch_replies(replies)

    def _launch_together(
        self, prompt: Generation, replies: Sequence[Generation]
    ) -> list[Launch] | None:
        """Run a chunk of a prompt and a token of each reply in one pass; None if that failed."""
        row = prompt.next_row(self._runner.prefill_chunk)
        tokens = [generation.next_token() for generation in replies]
        try:
            hidden, flight = self._decoder.decode_beside(row, tokens)
        except Exception:
            logger.debug("a step failed and is run again in parts", exc_info=True)
            return None
        return [*self._start_reply(prompt, row, hidden), self._take_off(replies, tokens, flight)]

    def _launch_prompt(self, generation: Generation) -> list[Launch]:
        """Run a chunk of a prompt; after the last one the first token is in flight."""
        row = generation.next_row(self._runner.prefill_chunk)
        try:
            hidden = self._runner.run([row])
        except Exception as error:
            self._fail(generation, error)
            return []
        return self._start_reply(generation, row, hidden)

    def _start_reply(self, generation: Generation, row: Row, hidden: Tensor) -> list[Launch]:
        """Note that a chunk has run; choose the first token where it was the last one."""
        generation.has_run(row)
        if not generation.has_read_all:
            return []
        try:
            flight = self._decoder.choose(hidden, row.slot, generation.next_pick())
        except Exception as error:
            self._fail(generation, error)
            return []
        generation.take_off(len(generation.conversation.token_ids))
        return [Launch(flight, [generation], [generation.round])]

    def _launch_replies(self, generations: Sequence[Generation]) -> list[Launch]:
        """Run the next token of some replies; what fails together is tried again one by one."""
        if not generations:
            return []
        tokens = [generation.next_token() for generation in generations]
        try:
            flight = self._decoder.decode(tokens)
        except Exception as error:
            if len(generations) > 1:
                return [each for one in generations for each in self._launch_replies([one])]
            self._fail(generations[0], error)
            return []
        return [self._take_off(generations, tokens, flight)]

    def _take_off(
        self, generations: Sequence[Generation], tokens: Sequence[NextToken], flight: Flight
    ) -> Launch:
        """Note that the next tokens of some replies are in flight."""
        for generation, token in zip(generations, tokens, strict=True):
            generation.take_off(token.position + 1)
        return Launch(flight, generations, [each.round for each in generations])

    def _land(self, launch: Launch) -> None:
        """Deliver the tokens of a flight, but those of replies that have ended meanwhile."""
        wanted = [
            generation.round == at_start
            for generation, at_start in zip(launch.generations, launch.rounds, strict=True)
        ]
        try:
            token_ids = launch.flight.read()
        except Exception as error:
            for generation, is_wanted in zip(launch.generations, wanted, strict=True):
                if is_wanted:
                    self._fail(generation, error)
            return
        for generation, is_wanted, token_id in zip(
            launch.generations, wanted, token_ids, strict=True
        ):
            if is_wanted:
                self._take(generation, token_id)

    def _take(self, generation: Generation, token_id: int) -> None:
        """Take the token of one reply; where many candidates must be looked at, choose again."""
        if token_id == MANY_NEEDED:
            generation.call_back()
            row = generation.next_row(1)
            try:
                scores = self._runner.score(self._runner.run([row]))
                [again] = choose_tokens(scores, [generation.next_pick()])
            except Exception as error:
                self._fail(generation, error)
                return
            generation.has_run(row)
            self._say(generation, again)
            return
        generation.land()
        self._say(generation, None if token_id == NO_TOKEN else token_id)

    def _say(self, generation: Generation, token_id: int | None) -> None:
        """Deliver the next token of one reply."""
        if token_id is None:
            self._fail(generation, no_token_error())
            return
        chunk = generation.say(token_id)
        self._policy.note_token(generation.progress, time.monotonic())
        self.generated_tokens += 1
        if chunk.finish_reason is None:
            generation.request.outbox.put(chunk, self._bell)
        else:
            self._finish(generation, chunk)

    def _finish(self, generation: Generation, last: Item) -> None:
        """Take a reply out, keep its session's conversation, and only then deliver the end."""
        self._leave(generation)
        session_id = generation.request.session_id
        if session_id is None:
            self._pool.drop(generation.conversation)
        else:
            self._pool.keep(session_id, generation.conversation)
        self._on_end(generation, last)

    def _leave(self, generation: Generation) -> None:
        """Take a reply out; what is in flight for it is not wanted any more."""
        self._running.remove(generation)
        generation.round += 1

    def _fail(self, generation: Generation, error: Exception) -> None:
        """End a reply with an error; its slot may be half written, so it is not kept."""
        logger.error("request %s failed", generation.request.request_id, exc_info=error)
        self._leave(generation)
        self._pool.drop(generation.conversation)
        self._on_end(generation, as_engine_error(error))


def no_token_error() -> EngineError:
    """Say why no token can be chosen."""
    return EngineError(
        "the model gave no finite score for any allowed token; its weights or number format are "
        "at fault, try another dtype"
    )


def unread_error() -> EngineError:
    """Say why a reply that nobody reads was ended."""
    return EngineError(
        f"the reply was ended because it was not read for {READER_TIMEOUT_S:g} s; "
        "read tokens as they come, or close the stream"
    )


def as_engine_error(error: Exception) -> AntiphonError:
    """Say in words why the model failed on one request."""
    if isinstance(error, AntiphonError):
        return error
    first_line = (str(error).splitlines() or [""])[0]
    failure = EngineError(
        f"the model failed on this request: {type(error).__name__}: {first_line}; "
        "see the server's log"
    )
    failure.__cause__ = error
    return failure
