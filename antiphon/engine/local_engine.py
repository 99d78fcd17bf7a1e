"""The engine that runs a language model in this process: checks requests, then queues them.

Knows nothing of text, audio or HTTP.
"""

import asyncio
import logging
import operator
import time
import uuid
from collections.abc import AsyncGenerator, Sequence

from transformers import GlmForCausalLM

from antiphon.engine.base import EngineStats, SamplingParams, TokenChunk
from antiphon.engine.decoder import make_decoder
from antiphon.engine.generation import Request
from antiphon.engine.model_runner import ModelRunner, cache_shape
from antiphon.engine.policy import PlaybackPolicy
from antiphon.engine.sampling import Sampler, check_sampling
from antiphon.engine.scheduler import Scheduler
from antiphon.engine.slot_cache import cache_memory, count_slots
from antiphon.engine.token_stream import Outbox, TokenStream
from antiphon.engine.warm_up import WarmUp
from antiphon.errors import ConfigError, EngineError, PromptError

logger = logging.getLogger(__name__)

IDLE_SLOTS = 8
"""Conversations, beyond those being answered, whose keys and values are kept between turns."""


class LocalEngine:
    """Generates tokens with a model in this process, for many callers at once.

    Attributes:
        vocab_size: Ids from 0 below this one are accepted in prompts.
        context_length: Most tokens of prompt and reply together.
    """

    def __init__(
        self,
        model: GlmForCausalLM,
        *,
        vocab_size: int,
        context_length: int,
        max_concurrent: int = 8,
        max_queue: int = 32,
        attention: str = "auto",
    ) -> None:
        """Take over a model and start the worker thread; `close` stops it.

        Args:
            model: From now on only the worker may use it.
            vocab_size: See above; at most the rows of the model's embedding.
            context_length: See above.
            max_concurrent: Replies generated at the same time.
            max_queue: Requests that may wait beyond these.
            attention: auto, exact, sdpa or flash; see `choose_attention`.

        Raises:
            ConfigError: If the attention or the sizes do not fit the model or the memory, or the
                sizes are too small.
        """
        check_sizes(model, vocab_size, context_length, max_concurrent, max_queue)
        shape, device = cache_shape(model, context_length), model.device
        n_slots = count_slots(shape, max_concurrent + IDLE_SLOTS, cache_memory(device))
        if n_slots < max_concurrent:
            logger.warning(
                "memory for keys and values suffices for %d replies at the same time, not for %d",
                n_slots,
                max_concurrent,
            )
        runner = ModelRunner(model, n_slots, context_length, attention)
        runner.warm_up()
        decoder = make_decoder(runner)
        decoder.warm_up(min(max_concurrent, n_slots, runner.decode_rows))
        self._device = runner.device
        self.vocab_size = vocab_size
        self.context_length = context_length
        self._scheduler = Scheduler(
            runner, decoder, PlaybackPolicy(), min(max_concurrent, n_slots), max_queue
        )

    def generate(
        self,
        token_ids: Sequence[int],
        sampling: SamplingParams,
        *,
        request_id: str | None = None,
        session_id: str | None = None,
    ) -> AsyncGenerator[TokenChunk, None]:
        """Submit a request at once; the generator returned yields its reply, one token a chunk.

        Args:
            token_ids: The full conversation.
            sampling: How to choose tokens. `max_new_tokens` beyond the context is cut down to it.
            request_id: Name for `cancel`; None makes one.
            session_id: Conversation whose keys and values may be used again; None keeps nothing.

        Raises:
            PromptError: If the prompt is empty, out of the vocabulary or longer than the context.
            ConfigError: If a sampling value is not acceptable.
            ServerBusyError: If the queue is full; carries its length and when to try again.
            EngineError: If the engine is closed; from the generator: if the model failed, or if
                the reply lay unread for too long (see `RunningBatch`).
        """
        check_sampling(sampling)
        self._check_allowed(sampling)
        prompt = self._check_prompt(token_ids)
        outbox = Outbox(self._scheduler.wake)
        room = self.context_length - len(prompt)
        request = Request(
            request_id=request_id or uuid.uuid4().hex,
            session_id=session_id,
            prompt=prompt,
            sampler=Sampler(sampling, self._device),
            stop_ids=frozenset(sampling.stop_token_ids),
            max_new_tokens=min(sampling.max_new_tokens, room),
            submitted_at=time.monotonic(),
            outbox=outbox,
        )
        self._scheduler.submit(request)
        return TokenStream(outbox)

    def warm_up(self, token_ids: Sequence[int], session_id: str) -> None:
        """Compute the beginning of a session's next prompt ahead of time; returns at once.

        It runs when no reply needs the model soon, in the slot that the session has or would get
        for its turn. The latest beginning of a session counts. It is dropped when too many wait,
        when replies take all slots, and when the prompt itself comes; ids stay the same.

        Args:
            token_ids: What the prompt will most likely begin with.
            session_id: The `session_id` of the request to come.

        Raises:
            PromptError: If no such prompt could be answered; see `generate`.
        """
        self._scheduler.warm_up(WarmUp(session_id, self._check_prompt(token_ids)))

    async def cancel(self, request_id: str) -> None:
        """End a request before the next step; its stream closes with "cancelled"."""
        self._scheduler.cancel(request_id)

    def stats(self) -> EngineStats:
        """Tell what runs and waits."""
        return self._scheduler.stats()

    async def ping(self, timeout_s: float = 10.0) -> None:
        """Check that the worker thread is alive and not stuck.

        Raises:
            EngineError: If it has ended, or did not finish its step in time.
        """
        answer = asyncio.wrap_future(self._scheduler.ping())
        try:
            await asyncio.wait_for(answer, timeout_s)
        except TimeoutError as error:
            raise EngineError(f"the engine has not finished a step for {timeout_s:g} s") from error

    async def close(self) -> None:
        """Stop the worker; running streams end as cancelled."""
        await asyncio.to_thread(self._scheduler.close)

    def _check_allowed(self, sampling: SamplingParams) -> None:
        """Refuse to choose from ids that do not exist."""
        chosen_from: dict[str, Sequence[int]] = {
            "allowed_token_ids": sampling.allowed_token_ids or ()
        }
        if sampling.interleave is not None:
            codes = sampling.interleave.codes
            chosen_from["interleave"] = (codes[0], codes[-1])
            chosen_from["stop_token_ids"] = sampling.stop_token_ids
        for name, ids in chosen_from.items():
            lowest, highest = min(ids, default=0), max(ids, default=0)
            if lowest < 0 or highest >= self.vocab_size:
                wrong = lowest if lowest < 0 else highest
                raise ConfigError(
                    f"{name} holds {wrong}, which is outside the vocabulary of {self.vocab_size}"
                )

    def _check_prompt(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        """Make plain integers of the prompt and refuse what the model cannot take."""
        try:
            prompt = tuple(operator.index(token_id) for token_id in token_ids)
        except TypeError as error:
            raise PromptError(f"the prompt must be whole numbers: {error}") from error
        if not prompt:
            raise PromptError("the prompt is empty; it needs at least one token")
        if len(prompt) >= self.context_length:
            raise PromptError(
                f"the prompt has {len(prompt)} tokens, but the context holds "
                f"{self.context_length} with at least one for the reply; shorten the prompt or "
                "start a new conversation"
            )
        lowest, highest = min(prompt), max(prompt)
        if lowest < 0 or highest >= self.vocab_size:
            wrong = lowest if lowest < 0 else highest
            raise PromptError(
                f"token id {wrong} is outside the vocabulary of {self.vocab_size} "
                f"(0 to {self.vocab_size - 1})"
            )
        return prompt


def check_sizes(
    model: GlmForCausalLM,
    vocab_size: int,
    context_length: int,
    max_concurrent: int,
    max_queue: int,
) -> None:
    """Refuse sizes that do not fit the model or are too small.

    Raises:
        ConfigError: Naming them.
    """
    n_embedded = int(model.config.vocab_size)
    if not 1 <= vocab_size <= n_embedded:
        raise ConfigError(
            f"vocab_size {vocab_size} does not fit a model with {n_embedded} embedding "
            "rows; text tokenizer and model must come from the same checkpoint"
        )
    if context_length < 2 or max_concurrent < 1 or max_queue < 0:
        raise ConfigError(
            f"context_length {context_length} must be at least 2, max_concurrent "
            f"{max_concurrent} at least 1 and max_queue {max_queue} at least 0"
        )
