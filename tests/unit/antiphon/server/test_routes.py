"""The routes, called in process: statuses, bodies and lines."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence

import httpx
import pytest

from antiphon.config import ServerConfig
from antiphon.engine.base import EngineStats, SamplingParams, TokenChunk
from antiphon.errors import AntiphonError, EngineError, PromptError, ServerBusyError
from antiphon.server.app import create_app
from tests.dialogue_fakes import LAYOUT, ByteTokenizer

TOKEN_EXAMPLE = b'{"token_id": 42, "error_code": 0}\n'
TOKEN_LINES = b"".join(b'{"token_id": %d, "error_code": 0}\n' % i for i in (5, 6, 7))


class ScriptedEngine:
    """Says three tokens, or fails where it is told to."""

    def __init__(
        self,
        refusal: Exception | None = None,
        failure: Exception | None = None,
        sick: EngineError | None = None,
    ) -> None:
        self.refusal, self.failure, self.sick = refusal, failure, sick
        self.requests: list[tuple[tuple[int, ...], SamplingParams, str | None]] = []
        self.warm_ups: list[tuple[tuple[int, ...], str]] = []
        self.is_closed = False

    def warm_up(self, token_ids: Sequence[int], session_id: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.warm_ups.append((tuple(token_ids), session_id))

    def generate(
        self,
        token_ids: Sequence[int],
        sampling: SamplingParams,
        *,
        request_id: str | None = None,
        session_id: str | None = None,
    ) -> AsyncIterator[TokenChunk]:
        if self.refusal is not None:
            raise self.refusal
        self.requests.append((tuple(token_ids), sampling, session_id))
        return self._reply()

    async def _reply(self) -> AsyncIterator[TokenChunk]:
        yield TokenChunk((5, 6))
        if self.failure is not None:
            raise self.failure
        yield TokenChunk((7,), "length")

    async def cancel(self, request_id: str) -> None: ...

    def stats(self) -> EngineStats:
        return EngineStats(1, 2, 3)

    async def ping(self, timeout_s: float = 1.0) -> None:
        if self.sick is not None:
            raise self.sick

    async def close(self) -> None:
        self.is_closed = True


def call(engine: ScriptedEngine, method: str, path: str, **options: object) -> httpx.Response:
    app = create_app(ServerConfig(model_path="a/model"), engine, ByteTokenizer())

    async def body() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)  # type: ignore[arg-type]

    return asyncio.run(body())


def generate(engine: ScriptedEngine, **body: object) -> httpx.Response:
    return call(engine, "POST", "/generate_stream", json=body)


def test_the_reply_is_the_original_s_byte_for_byte() -> None:
    engine = ScriptedEngine()
    reply = generate(engine, prompt="<|user|>\nHi", temperature=0.2, top_p=0.8, max_new_tokens=9)
    assert (reply.status_code, reply.content) == (200, TOKEN_LINES)
    (ids, sampling, session_id) = engine.requests[0]
    assert ids == (*LAYOUT.prefix, LAYOUT.user, *b"\nHi")
    assert (sampling.temperature, sampling.top_p, sampling.max_new_tokens) == (0.2, 0.8, 9)
    assert sampling.stop_token_ids == LAYOUT.stop
    assert session_id is None


def test_ids_and_options_arrive_at_the_engine() -> None:
    engine = ScriptedEngine()
    reply = generate(
        engine,
        prompt_token_ids=[1, 2],
        seed=3,
        top_k=4,
        session_id="s",
        stop_token_ids=[],
        allowed_token_ids=[8, 9],
        finish_line=True,
    )
    assert reply.content == TOKEN_LINES + b'{"finish_reason": "length", "error_code": 0}\n'
    expected = SamplingParams(
        1.0, 1.0, top_k=4, seed=3, max_new_tokens=256, allowed_token_ids=(8, 9)
    )
    assert engine.requests == [((1, 2), expected, "s")]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PromptError("too long by 3"), 400),
        (ServerBusyError("full"), 429),
        (EngineError("closed"), 503),
    ],
)
def test_refusals_are_json_with_a_message(error: AntiphonError, status: int) -> None:
    reply = generate(ScriptedEngine(refusal=error), prompt_token_ids=[1])
    assert reply.status_code == status
    assert reply.json() == {
        "text": str(error),
        "error_code": 1,
        "error_type": type(error).__name__,
    }
    assert ("retry-after" in reply.headers) == (status == 429)


def test_a_full_server_says_when_to_try_again() -> None:
    full = ServerBusyError("5 requests wait", queue_length=5, retry_after_s=7.2)
    assert generate(ScriptedEngine(full), prompt_token_ids=[1]).headers["retry-after"] == "8"
    unknown = ServerBusyError("full")
    assert generate(ScriptedEngine(unknown), prompt_token_ids=[1]).headers["retry-after"] == "2"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"prompt": "x", "max_new_tokens": "many"}', "max_new_tokens: Input should be a valid"),
        (b'{"prompt": "x", "colour": 1}', "colour: Extra inputs are not permitted"),
        (b"{}", "give either prompt or prompt_token_ids"),
        (b"{broken", "JSON decode error"),
        (b'{"prompt_token_ids": ["a"]}', "prompt_token_ids.0: Input should be a valid integer"),
        (b"", "Field required"),
    ],
)
def test_bodies_that_are_no_request_are_refused_by_field(body: bytes, words: str) -> None:
    headers = {"content-type": "application/json"}
    reply = call(ScriptedEngine(), "POST", "/generate_stream", content=body, headers=headers)
    assert reply.status_code == 422
    assert words in reply.json()["text"]
    assert reply.json()["error_code"] == 1


def test_an_empty_prompt_string_is_refused() -> None:
    reply = generate(ScriptedEngine(), prompt="")
    assert (reply.status_code, reply.json()["error_type"]) == (400, "PromptError")


def test_an_error_in_the_middle_is_the_last_line() -> None:
    reply = generate(ScriptedEngine(failure=EngineError("out of memory")), prompt_token_ids=[1])
    lines = reply.content.splitlines()
    assert reply.status_code == 200
    assert [json.loads(line) for line in lines] == [
        {"token_id": 5, "error_code": 0},
        {"token_id": 6, "error_code": 0},
        {"text": "out of memory", "error_code": 1},
    ]


def test_a_bug_is_told_without_its_details(caplog: pytest.LogCaptureFixture) -> None:
    engines: list[Callable[[], ScriptedEngine]] = [
        lambda: ScriptedEngine(failure=RuntimeError("secret")),
        lambda: ScriptedEngine(refusal=RuntimeError("secret")),
    ]
    for make in engines:
        reply = generate(make(), prompt_token_ids=[1])
        assert b"secret" not in reply.content
        assert json.loads(reply.content.splitlines()[-1])["error_code"] == 1
    assert "secret" in caplog.text


def test_unknown_paths_and_methods_are_told_in_the_same_form() -> None:
    for method, path, status in (("GET", "/nothing", 404), ("GET", "/generate_stream", 405)):
        reply = call(ScriptedEngine(), method, path)
        assert reply.status_code == status
        assert reply.json()["error_code"] == 1


def test_a_warm_up_arrives_at_the_engine() -> None:
    engine = ScriptedEngine()
    body = {"prompt_token_ids": [1, 2], "session_id": "a"}
    response = call(engine, "POST", "/warm_up", json=body)
    assert (response.status_code, response.content) == (204, b"")
    assert engine.warm_ups == [((1, 2), "a")]


def test_a_warm_up_that_no_prompt_could_follow_is_refused() -> None:
    refusing = ScriptedEngine(refusal=PromptError("token 9 is out of the vocabulary"))
    body = {"prompt_token_ids": [9], "session_id": "a"}
    response = call(refusing, "POST", "/warm_up", json=body)
    assert (response.status_code, response.json()["error_type"]) == (400, "PromptError")
    empty = call(refusing, "POST", "/warm_up", json=body | {"prompt_token_ids": []})
    assert empty.status_code == 422


def test_health_asks_the_worker() -> None:
    reply = call(ScriptedEngine(), "GET", "/health")
    assert reply.status_code == 200
    assert reply.json() == {
        "status": "ok",
        "running": 1,
        "waiting": 2,
        "generated_tokens": 3,
        "text": "",
    }
    sick = call(ScriptedEngine(sick=EngineError("the worker died")), "GET", "/health")
    assert sick.status_code == 503
    assert (sick.json()["status"], sick.json()["text"]) == ("failing", "the worker died")


def test_models_names_the_model_and_its_sizes() -> None:
    assert call(ScriptedEngine(), "GET", "/v1/models").json() == {
        "object": "list",
        "data": [{"id": "model", "object": "model", "vocab_size": 370, "context_length": 1024}],
    }


def test_the_interface_is_described_with_an_example() -> None:
    described = call(ScriptedEngine(), "GET", "/openapi.json").json()
    reply = described["paths"]["/generate_stream"]["post"]["responses"]
    assert reply["200"]["content"]["application/x-ndjson"]["example"].encode() in TOKEN_EXAMPLE
    assert {"400", "422", "429", "503"} <= set(reply)
    assert described["components"]["schemas"]["GenerateRequest"]["examples"]


def test_shutting_down_closes_the_engine() -> None:
    engine = ScriptedEngine()
    app = create_app(ServerConfig(), engine, ByteTokenizer())

    async def body() -> None:
        async with app.router.lifespan_context(app):
            assert not engine.is_closed

    asyncio.run(body())
    assert engine.is_closed
