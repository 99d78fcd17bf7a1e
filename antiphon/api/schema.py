"""The wire contract of the model server: what goes in, what comes out, with an example each.

Replies are lines of JSON. Knows nothing of HTTP or engines.
"""

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_PROMPT_TOKENS = 1_000_000
"""Longest list of ids read at all; the context of the model is checked later."""


class InterleaveBody(BaseModel):
    """Blocks of text and of speech tokens in turns, as `antiphon.engine.base.Interleave`.

    Example: `{"n_text": 13, "n_audio": 26, "audio_0": 152353, "n_codes": 16384}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_text: int
    n_audio: int
    audio_0: int
    n_codes: int


class GenerateRequest(BaseModel):
    r"""A request to `POST /generate_stream`.

    The first four fields are those of the original server. `prompt` is text in which special
    tokens are written out; clients that send `prompt_token_ids` instead never mix up text and
    special tokens. Exactly one of the two is needed.

    Attributes:
        prompt: The conversation, such as "<|user|>\nHello<|assistant|>streaming_transcription\\n".
        temperature: Softmax temperature; 0 takes the likeliest token.
        top_p: Nucleus mass in (0, 1].
        max_new_tokens: Most tokens to generate; cut down to the context.
        prompt_token_ids: The conversation as ids, `[gMASK] <sop>` included.
        top_k: Keep this many candidates; 0 keeps all.
        seed: Same seed, same reply.
        session_id: Lets the server keep what it computed of a conversation between turns.
        stop_token_ids: Ids that end the reply; none given: those of the model.
        allowed_token_ids: The only ids to choose from; none given: all.
        interleave: Blocks of text and sound that the reply has to keep to; none given: the model
            keeps to its own.
        finish_line: Ask for a `FinishLine` at the end, which the original does not send.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "prompt": "<|user|>\nHello<|assistant|>streaming_transcription\n",
                    "temperature": 0.2,
                    "top_p": 0.8,
                    "max_new_tokens": 2000,
                }
            ]
        },
    )

    prompt: str | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    prompt_token_ids: tuple[int, ...] | None = Field(default=None, max_length=MAX_PROMPT_TOKENS)
    top_k: int = 0
    seed: int | None = None
    session_id: str | None = Field(default=None, max_length=200)
    stop_token_ids: tuple[int, ...] | None = None
    allowed_token_ids: tuple[int, ...] | None = None
    interleave: InterleaveBody | None = None
    finish_line: bool = False

    @model_validator(mode="after")
    def check_prompt(self) -> "GenerateRequest":
        """Refuse a request with no prompt or with two."""
        if (self.prompt is None) == (self.prompt_token_ids is None):
            raise ValueError("give either prompt or prompt_token_ids")
        return self


class WarmUpRequest(BaseModel):
    """A request to `POST /warm_up`: what a session's next prompt will most likely begin with.

    Example: `{"prompt_token_ids": [1, 2, 3], "session_id": "a1"}`.

    Attributes:
        prompt_token_ids: The beginning as ids, `[gMASK] <sop>` included.
        session_id: The one of the request to come.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt_token_ids: tuple[int, ...] = Field(min_length=1, max_length=MAX_PROMPT_TOKENS)
    session_id: str = Field(max_length=200)


class TokenLine(BaseModel):
    """One generated token: `{"token_id": 151336, "error_code": 0}`."""

    model_config = ConfigDict(frozen=True)

    token_id: int
    error_code: Literal[0] = 0


class FinishLine(BaseModel):
    """The end of a reply, if asked for: `{"finish_reason": "stop", "error_code": 0}`."""

    model_config = ConfigDict(frozen=True)

    finish_reason: Literal["stop", "length", "cancelled"]
    error_code: Literal[0] = 0


class ErrorLine(BaseModel):
    """An error in the middle of a reply: `{"text": "the model failed ...", "error_code": 1}`."""

    model_config = ConfigDict(frozen=True)

    text: str
    error_code: int = 1


class ErrorBody(ErrorLine):
    """The body of a refused request.

    Example: `{"text": "top_p 2.0 must be ...", "error_code": 1, "error_type": "ConfigError"}`.

    Attributes:
        error_type: Name of the exception in `antiphon.errors`.
    """

    error_type: str = "EngineError"


class Health(BaseModel):
    """The body of `GET /health`: `{"status": "ok", "running": 1, "waiting": 0, ...}`.

    Attributes:
        status: "ok" only if the engine's worker gave a sign of life just now.
        running: Replies being generated.
        waiting: Requests in the queue.
        generated_tokens: Tokens generated since the start.
        text: Why the status is not "ok".
    """

    model_config = ConfigDict(frozen=True)

    status: Literal["ok", "failing"]
    running: int = 0
    waiting: int = 0
    generated_tokens: int = 0
    text: str = ""


class ModelCard(BaseModel):
    """One model: `{"id": "lm", "object": "model", "vocab_size": 3000, "context_length": 2048}`."""

    model_config = ConfigDict(frozen=True)

    id: str
    object: Literal["model"] = "model"
    vocab_size: int
    context_length: int


class ModelList(BaseModel):
    """The body of `GET /v1/models`: `{"object": "list", "data": [...]}`."""

    model_config = ConfigDict(frozen=True)

    object: Literal["list"] = "list"
    data: tuple[ModelCard, ...]


ReplyLine = TokenLine | FinishLine | ErrorLine


def encode_line(line: ReplyLine) -> bytes:
    """Write one line of a reply, byte for byte as the original server does."""
    if isinstance(line, TokenLine):  # by far the most frequent one
        return f'{{"token_id": {line.token_id}, "error_code": 0}}\n'.encode()
    return (json.dumps(line.model_dump()) + "\n").encode()


def decode_line(text: str) -> ReplyLine:
    """Read one line of a reply.

    Raises:
        ValueError: If it is no JSON object or none of the known lines.
    """
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if content.get("error_code", 0) != 0:
        return ErrorLine.model_validate(content)
    kind = FinishLine if "finish_reason" in content else TokenLine
    return kind.model_validate(content)
