"""The engine protocol over HTTP: the language model runs in a model server.

Knows nothing of how the server works. Requests carry token ids, never text.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from functools import partial

from antiphon.api.client import CONNECT_TIMEOUT_S, TOKEN_TIMEOUT_S, ModelClient
from antiphon.api.schema import FinishLine, GenerateRequest, InterleaveBody, WarmUpRequest
from antiphon.engine.base import EngineStats, SamplingParams, TokenChunk
from antiphon.engine.sampling import check_sampling
from antiphon.engine.token_stream import Outbox
from antiphon.errors import AntiphonError, EngineError, PromptError, ServerConnectionError

logger = logging.getLogger(__name__)


class RemoteEngine:
    """Generates tokens with a model server.

    Attributes:
        url: Address of the server.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        token_timeout_s: float = TOKEN_TIMEOUT_S,
    ) -> None:
        """Make an engine; nothing is sent before the first request.

        Args:
            url: Address of the server, such as "http://example.org:10000".
            connect_timeout_s: Longest wait for the connection.
            token_timeout_s: Longest silence inside a reply.

        Raises:
            ConfigError: If `url` is not an HTTP address.
        """
        self._client = ModelClient(
            url, connect_timeout_s=connect_timeout_s, token_timeout_s=token_timeout_s
        )
        self.url = self._client.url
        self._open: dict[str, Outbox] = {}
        self._warm_ups: dict[str, asyncio.Task[None]] = {}
        self._generated_tokens = 0
        self._is_closed = False

    async def generate(
        self,
        token_ids: Sequence[int],
        sampling: SamplingParams,
        *,
        request_id: str | None = None,
        session_id: str | None = None,
    ) -> AsyncGenerator[TokenChunk, None]:
        """Yield the reply as the server sends it; the last chunk holds only `finish_reason`.

        Raises:
            PromptError: If the server refuses the prompt.
            ConfigError: If a sampling value is not acceptable.
            ServerBusyError: If the server is full.
            ServerConnectionError: If the server does not answer or goes away.
            EngineError: If the server reports an error.
        """
        request = build_request(token_ids, sampling, session_id)
        request_id = request_id or uuid.uuid4().hex
        if self._is_closed or request_id in self._open:
            why = "the engine is closed" if self._is_closed else f"{request_id!r} is in use"
            raise EngineError(f"cannot start the request: {why}")
        self._drop_warm_up(session_id)
        outbox = self._open[request_id] = Outbox()
        pump = asyncio.create_task(self._pump(request, outbox))
        try:
            while True:
                item = await outbox.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if item.finish_reason is not None:
                    return
        finally:
            self._open.pop(request_id, None)
            pump.cancel()
            await asyncio.wait([pump])

    def warm_up(self, token_ids: Sequence[int], session_id: str) -> None:
        """Tell the server what a session's next prompt will most likely begin with.

        Returns at once; call it on the event loop of the request to come. It is a favour: the
        latest beginning of a session counts, and what goes wrong is only logged.

        Args:
            token_ids: What the prompt will most likely begin with, at least one.
            session_id: The `session_id` of the request to come.
        """
        if self._is_closed:
            return
        self._drop_warm_up(session_id)
        request = WarmUpRequest(prompt_token_ids=tuple(token_ids), session_id=session_id)
        task = self._warm_ups[session_id] = asyncio.create_task(self._send_warm_up(request))
        task.add_done_callback(partial(self._forget_warm_up, session_id))

    async def _send_warm_up(self, request: WarmUpRequest) -> None:
        """Send one; a server that does not take it answers the prompt itself all the same."""
        try:
            await self._client.warm_up(request)
        except AntiphonError as error:
            logger.debug("no warm-up of session %s: %s", request.session_id, error)

    def _drop_warm_up(self, session_id: str | None) -> None:
        """Do not send what waits for a session, if anything: something better has come."""
        task = self._warm_ups.pop(session_id or "", None)
        if task is not None:
            task.cancel()

    def _forget_warm_up(self, session_id: str, task: asyncio.Task[None]) -> None:
        """Let go of one that is sent."""
        if self._warm_ups.get(session_id) is task:
            del self._warm_ups[session_id]

    async def cancel(self, request_id: str) -> None:
        """Hang up on a request; its stream closes with "cancelled". Unknown ids are ignored."""
        outbox = self._open.get(request_id)
        if outbox is not None:
            outbox.put(TokenChunk((), "cancelled"))

    def stats(self) -> EngineStats:
        """Tell what this engine has asked for; other clients of the server are not counted."""
        return EngineStats(len(self._open), 0, self._generated_tokens)

    async def ping(self, timeout_s: float = 30.0) -> None:
        """Check that the server answers and its engine works.

        Raises:
            EngineError: If not; says why.
        """
        try:
            health = await asyncio.wait_for(self._client.health(), timeout_s)
        except TimeoutError as error:
            raise ServerConnectionError(f"{self.url} did not answer in {timeout_s:g} s") from error
        if health.status != "ok":
            raise EngineError(f"the model server at {self.url} is failing: {health.text}")

    async def close(self) -> None:
        """Refuse new requests; running streams end as cancelled."""
        self._is_closed = True
        for session_id in list(self._warm_ups):
            self._drop_warm_up(session_id)
        for outbox in list(self._open.values()):
            outbox.put(TokenChunk((), "cancelled"))

    async def _pump(self, request: GenerateRequest, outbox: Outbox) -> None:
        """Move lines of the server into the queue of the request, up to its end or an error."""
        try:
            async with aclosing(self._client.stream_reply(request)) as lines:
                async for line in lines:
                    if isinstance(line, FinishLine):
                        outbox.put(TokenChunk((), line.finish_reason))
                        return
                    self._generated_tokens += 1
                    outbox.put(TokenChunk((line.token_id,)))
            raise ServerConnectionError(
                f"the model server at {self.url} ended the reply before it was complete; "
                "see its log"
            )
        except AntiphonError as error:
            outbox.put(error)
        except Exception as error:
            failure = EngineError(f"reading from {self.url} failed: {error!r}")
            failure.__cause__ = error
            outbox.put(failure)


def build_request(
    token_ids: Sequence[int], sampling: SamplingParams, session_id: str | None
) -> GenerateRequest:
    """Put a request into words of the wire.

    Raises:
        PromptError: If the prompt is empty or not whole numbers.
        ConfigError: If a sampling value is not acceptable.
    """
    check_sampling(sampling)
    try:
        prompt = tuple(int(token_id) for token_id in token_ids)
    except (TypeError, ValueError) as error:
        raise PromptError(f"the prompt must be whole numbers: {error}") from error
    if not prompt:
        raise PromptError("the prompt is empty; it needs at least one token")
    blocks = sampling.interleave
    return GenerateRequest(
        prompt_token_ids=prompt,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_new_tokens=sampling.max_new_tokens,
        seed=sampling.seed,
        session_id=session_id,
        stop_token_ids=sampling.stop_token_ids,
        allowed_token_ids=sampling.allowed_token_ids,
        interleave=None if blocks is None else InterleaveBody(**asdict(blocks)),
        finish_line=True,
    )
