"""Streaming HTTP client of the model server. Turns everything that goes wrong into our exceptions.

Knows nothing of engines or dialogue. Each request has its own connection, so a client may be used
from several event loops.
"""

import ssl
from collections.abc import AsyncGenerator
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from antiphon.api.schema import (
    ErrorBody,
    ErrorLine,
    FinishLine,
    GenerateRequest,
    Health,
    ModelList,
    TokenLine,
    WarmUpRequest,
    decode_line,
)
from antiphon.errors import (
    AntiphonError,
    ConfigError,
    EngineError,
    PromptError,
    ServerBusyError,
    ServerConnectionError,
)

CONNECT_TIMEOUT_S = 5.0
TOKEN_TIMEOUT_S = 120.0
"""Longest silence inside a reply: the wait in the queue plus the prompt."""

REFUSALS: dict[str, type[AntiphonError]] = {
    error.__name__: error for error in (PromptError, ConfigError, ServerBusyError, EngineError)
}
LOOPBACK_HOSTS = {"localhost", "127.0.0.1", "::1", "[::1]"}
SHOWN_CHARACTERS = 80

Body = TypeVar("Body", bound=BaseModel)


class ModelClient:
    """Talks to one model server.

    Attributes:
        url: Address of the server without a path.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        token_timeout_s: float = TOKEN_TIMEOUT_S,
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            url: Such as "http://example.org:10000".
            connect_timeout_s: Longest wait for the connection.
            token_timeout_s: Longest silence of the server.

        Raises:
            ConfigError: If `url` is not an HTTP address.
        """
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"{url!r} is not an address: {error}") from error
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise ConfigError(f"{url!r} is not an address like http://host:port")
        self.url = url.rstrip("/")
        self._is_loopback = parsed.host in LOOPBACK_HOSTS
        # Loading certificates takes longer than a reply begins; plain HTTP needs none.
        self._tls: ssl.SSLContext | bool = (
            True if parsed.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        )
        self._timeout = httpx.Timeout(token_timeout_s, connect=connect_timeout_s)

    async def stream_reply(
        self, request: GenerateRequest
    ) -> AsyncGenerator[TokenLine | FinishLine, None]:
        """Yield the lines of a reply as they come. Closing the generator hangs up.

        Raises:
            PromptError, ConfigError: If the server refused the request.
            ServerBusyError: If the server is full.
            ServerConnectionError: If it does not answer, goes silent or goes away.
            EngineError: If it reports an error or sends what is not a reply.
        """
        body = request.model_dump(exclude_none=True, exclude_defaults=True)
        n_lines = 0
        try:
            async with (
                self._open() as client,
                client.stream("POST", "/generate_stream", json=body) as response,
            ):
                await self._check_status(response)
                async for text in response.aiter_lines():
                    if text.strip():
                        yield self._read_line(text)
                        n_lines += 1
        except httpx.TransportError as error:
            raise self._explain(error, n_lines) from error

    async def warm_up(self, request: WarmUpRequest) -> None:
        """Tell what a session's next prompt will begin with.

        Raises:
            PromptError: If no such prompt could be answered.
            ServerConnectionError: If the server does not answer.
            EngineError: If it refuses, as servers do that know no such request.
        """
        try:
            async with self._open() as client:
                response = await client.post("/warm_up", json=request.model_dump())
        except httpx.TransportError as error:
            raise self._explain(error, 0) from error
        await self._check_status(response)

    async def health(self) -> Health:
        """Ask whether the server's engine works; a failing one is an answer too.

        Raises:
            ServerConnectionError: If the server does not answer.
            EngineError: If it answers with something else.
        """
        return await self._get("/health", Health)

    async def models(self) -> ModelList:
        """Ask which model is served.

        Raises:
            ServerConnectionError: If the server does not answer.
            EngineError: If it answers with something else.
        """
        return await self._get("/v1/models", ModelList)

    def _open(self) -> httpx.AsyncClient:
        """Make the connection pool of one request."""
        return httpx.AsyncClient(
            base_url=self.url,
            timeout=self._timeout,
            verify=self._tls,
            trust_env=not self._is_loopback,  # a proxy cannot reach this machine's own server
        )

    async def _get(self, path: str, kind: type[Body]) -> Body:
        """Fetch one JSON body."""
        try:
            async with self._open() as client:
                response = await client.get(path)
        except httpx.TransportError as error:
            raise self._explain(error, 0) from error
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            raise EngineError(
                f"{self.url}{path} answered status {response.status_code} with "
                f"{shorten(response.text)}, which is not from an Antiphon model server; check the "
                "address"
            ) from error

    async def _check_status(self, response: httpx.Response) -> None:
        """Raise what a refusal stands for; do nothing for an accepted request."""
        if response.is_success:
            return
        await response.aread()
        try:
            body = ErrorBody.model_validate_json(response.content)
        except ValidationError:
            raise EngineError(
                f"{self.url} answered status {response.status_code}: {shorten(response.text)}"
            ) from None
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise ServerBusyError(body.text)
        raise REFUSALS.get(body.error_type, EngineError)(body.text)

    def _read_line(self, text: str) -> TokenLine | FinishLine:
        """Read one line; raise what an error line says."""
        try:
            line = decode_line(text)
        except ValueError as error:
            raise EngineError(
                f"{self.url} sent {shorten(text)} where a token was expected; is it an Antiphon "
                "model server?"
            ) from error
        if isinstance(line, ErrorLine):
            raise EngineError(f"the model server reports: {line.text}")
        return line

    def _explain(self, error: httpx.TransportError, n_lines: int) -> ServerConnectionError:
        """Say in words why there is no (more) reply."""
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            return ServerConnectionError(
                f"no model server answers at {self.url} ({error or 'timeout'}); start it with "
                "`python model_server.py`, or check the address"
            )
        if isinstance(error, httpx.ReadTimeout):
            return ServerConnectionError(
                f"the model server at {self.url} sent nothing for {self._timeout.read:g} s; it is "
                "overloaded or stuck, try again"
            )
        return ServerConnectionError(
            f"the model server at {self.url} went away after {n_lines} tokens "
            f"({error or type(error).__name__}); see its log and start it again"
        )


def shorten(text: str) -> str:
    """Quote the beginning of what a server sent."""
    cut = text[:SHOWN_CHARACTERS]
    return repr(cut) + ("..." if len(text) > len(cut) else "")
