"""The routes of the model server and how errors are told to clients.

Knows the engine and the text tokenizer only as protocols.
"""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from antiphon.api.schema import (
    ErrorBody,
    ErrorLine,
    FinishLine,
    GenerateRequest,
    Health,
    InterleaveBody,
    ModelCard,
    ModelList,
    TokenLine,
    WarmUpRequest,
    encode_line,
)
from antiphon.engine.base import Engine, Interleave, SamplingParams, TokenChunk, WarmableEngine
from antiphon.errors import (
    AntiphonError,
    ConfigError,
    EngineError,
    PromptError,
    ServerBusyError,
)
from antiphon.models.base import TextTokenizer, TokenLayout
from antiphon.server.prompt_string import PromptStringEncoder

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 2
"""When a client may try again after status 429, where the engine gives no estimate."""

HEALTH_TIMEOUT_S = 20.0
"""Longest step of the engine that still counts as healthy."""

STATUS: dict[type[AntiphonError], int] = {
    PromptError: 400,
    ConfigError: 400,
    ServerBusyError: 429,
    EngineError: 503,
}


class ServedEngine(Engine, WarmableEngine, Protocol):
    """An engine that can show that it works."""

    async def ping(self, timeout_s: float = ...) -> None:
        """Return when the engine gave a sign of life, else raise EngineError."""
        ...


class PromptTokenizer(TextTokenizer, Protocol):
    """A text tokenizer that says where special ids lie."""

    @property
    def layout(self) -> TokenLayout:
        """Where the special ids lie."""
        ...


@dataclass(frozen=True)
class Services:
    """What the routes work with; lives on the application.

    Attributes:
        engine: Generates the replies.
        prompts: Encodes string prompts.
        layout: Where the special ids lie.
        model_name: Shown by `/v1/models`.
    """

    engine: ServedEngine
    prompts: PromptStringEncoder
    layout: TokenLayout
    model_name: str


def get_services(request: Request) -> Services:
    """Find the services of the application that a request came to."""
    services: Services = request.app.state.services
    return services


REFUSALS: dict[int | str, dict[str, object]] = {
    400: {"model": ErrorBody, "description": "The prompt or a sampling value is not acceptable"},
    422: {"model": ErrorBody, "description": "The body is not a request"},
}
RESPONSES = REFUSALS | {
    200: {
        "description": "One JSON line a token, in the end maybe an error line",
        "content": {"application/x-ndjson": {"example": '{"token_id": 42, "error_code": 0}\n'}},
    },
    429: {"model": ErrorBody, "description": "The queue is full; see Retry-After"},
    503: {"model": ErrorBody, "description": "The engine does not work"},
}
ServicesArgument = Annotated[Services, Depends(get_services)]
router = APIRouter()


@router.post("/generate_stream", response_model=None, responses=RESPONSES)
async def generate_stream(body: GenerateRequest, services: ServicesArgument) -> StreamingResponse:
    """Stream the reply, one JSON line a token; a client that hangs up ends its request."""
    prompt = await find_prompt(body, services.prompts)
    stops = body.stop_token_ids
    sampling = SamplingParams(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        seed=body.seed,
        max_new_tokens=body.max_new_tokens,
        stop_token_ids=services.layout.stop if stops is None else stops,
        allowed_token_ids=body.allowed_token_ids,
        interleave=blocks_of(body.interleave),
    )
    stream = services.engine.generate(prompt, sampling, session_id=body.session_id)
    return StreamingResponse(
        reply_lines(stream, with_finish_line=body.finish_line), media_type="application/x-ndjson"
    )


def blocks_of(body: InterleaveBody | None) -> Interleave | None:
    """Take blocks of text and sound off the wire."""
    return None if body is None else Interleave(**body.model_dump())


@router.post("/warm_up", status_code=204, responses=REFUSALS)
async def warm_up(body: WarmUpRequest, services: ServicesArgument) -> None:
    """Compute the beginning of a session's next prompt while its user still speaks."""
    services.engine.warm_up(body.prompt_token_ids, body.session_id)


@router.get("/health", response_model=Health)
async def health(services: ServicesArgument) -> Health | JSONResponse:
    """Tell whether the engine's worker lives and makes progress."""
    stats = services.engine.stats()
    try:
        await services.engine.ping(HEALTH_TIMEOUT_S)
    except EngineError as error:
        failing = Health(status="failing", text=str(error))
        return JSONResponse(failing.model_dump(), status_code=503)
    return Health(
        status="ok",
        running=stats.running,
        waiting=stats.waiting,
        generated_tokens=stats.generated_tokens,
    )


@router.get("/v1/models")
async def models(services: ServicesArgument) -> ModelList:
    """Tell which model is served."""
    layout = services.layout
    card = ModelCard(
        id=services.model_name,
        vocab_size=layout.vocab_size,
        context_length=layout.context_length,
    )
    return ModelList(data=(card,))


async def find_prompt(body: GenerateRequest, prompts: PromptStringEncoder) -> tuple[int, ...]:
    """Give the token ids of a request; long strings are encoded beside the event loop."""
    if body.prompt is None:
        return body.prompt_token_ids or ()
    return await asyncio.to_thread(prompts.encode, body.prompt)


async def reply_lines(
    stream: AsyncIterator[TokenChunk], *, with_finish_line: bool
) -> AsyncGenerator[bytes, None]:
    """Write a reply as lines; an error becomes the last line. Closing it closes the stream."""
    try:
        async for chunk in stream:
            for token_id in chunk.token_ids:
                yield encode_line(TokenLine(token_id=token_id))
            if chunk.finish_reason is not None and with_finish_line:
                yield encode_line(FinishLine(finish_reason=chunk.finish_reason))
    except AntiphonError as error:
        yield encode_line(ErrorLine(text=str(error)))
    except Exception:
        logger.exception("a reply failed")
        yield encode_line(ErrorLine(text="the server failed on this reply; see its log"))
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


def error_response(
    status: int, text: str, error_type: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Make the body of a refusal."""
    body = ErrorBody(text=text, error_type=error_type)
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)


async def on_our_error(_: Request, error: Exception) -> JSONResponse:
    """Answer one of our exceptions: what came, what was expected, when to try again."""
    kind = next((kind for kind in type(error).__mro__ if kind in STATUS), EngineError)
    headers = None
    if isinstance(error, ServerBusyError):
        headers = {"Retry-After": str(math.ceil(error.retry_after_s or RETRY_AFTER_S))}
    return error_response(STATUS[kind], str(error), type(error).__name__, headers)


async def on_invalid_request(_: Request, error: Exception) -> JSONResponse:
    """Answer a body that is not a request: name each wrong field."""
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    texts = []
    for problem in problems:
        place = ".".join(str(part) for part in problem["loc"] if part != "body")
        texts.append(f"{place}: {problem['msg']}" if place else str(problem["msg"]))
    return error_response(422, "; ".join(texts) or "the request is not valid", "ConfigError")


async def on_http_error(_: Request, error: Exception) -> JSONResponse:
    """Answer unknown paths and methods in the same form as all errors."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else "the server failed"
    return error_response(status, f"{detail}", "EngineError")


async def on_unexpected_error(_: Request, error: Exception) -> JSONResponse:
    """Answer a bug of ours without its details, which are in the log."""
    return error_response(500, "the server failed on this request; see its log", "EngineError")


def add_error_handlers(app: FastAPI) -> None:
    """Let every error reach the client as one JSON object."""
    app.add_exception_handler(AntiphonError, on_our_error)
    app.add_exception_handler(RequestValidationError, on_invalid_request)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(Exception, on_unexpected_error)
