"""The remote engine against a real server with the tiny model, and against servers that fail."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from antiphon.engine.base import Interleave, SamplingParams
from antiphon.engine.remote_engine import RemoteEngine
from antiphon.errors import (
    AntiphonError,
    ConfigError,
    EngineError,
    PromptError,
    ServerBusyError,
    ServerConnectionError,
)
from tests.engine_bench import greedy_by_hand, random_prompt, slow_model
from tests.tiny_glm import GREEDY, collect, wait_until
from tests.tiny_server import Connection, send_lines, serve_bytes, serve_tiny_model

ENDLESS = replace(GREEDY, max_new_tokens=10**9)
TOKEN = b'{"token_id": 5, "error_code": 0}\n'


def ask(url: str, prompt: list[int] | None = None, **options: float) -> object:
    """Ask once and return the reply, or the error that came."""

    async def body() -> object:
        engine = RemoteEngine(url, token_timeout_s=options.get("timeout_s", 20))
        try:
            return await asyncio.wait_for(collect(engine.generate(prompt or [1], GREEDY)), 30)
        except AntiphonError as error:
            return error
        finally:
            assert engine.stats().running == 0
            await engine.close()

    return asyncio.run(body())


@contextmanager
def answering(answer: Callable[[Connection], None]) -> Iterator[str]:
    with serve_bytes(answer) as url:
        yield url


def test_it_gives_what_the_local_engine_gives() -> None:
    samplings = [
        GREEDY,
        SamplingParams(temperature=1.2, top_p=0.9, seed=4, max_new_tokens=30),
        SamplingParams(temperature=1.2, top_p=1.0, top_k=5, seed=4, max_new_tokens=30),
        replace(ENDLESS, stop_token_ids=tuple(range(0, 300, 20))),
        replace(GREEDY, max_new_tokens=80, interleave=Interleave(13, 26, audio_0=40, n_codes=9)),
    ]
    with serve_tiny_model() as (url, local):

        async def body() -> None:
            remote = RemoteEngine(url)
            for sampling in samplings:
                prompt = [1, 2, 3, 4]
                expected = await collect(local.generate(prompt, sampling))
                assert await collect(remote.generate(prompt, sampling)) == expected
                again = remote.generate(prompt, sampling, session_id="s")
                assert await collect(again) == expected
            assert remote.stats().generated_tokens > 100
            await remote.ping()

        asyncio.run(body())


def test_no_stop_ids_means_no_stop() -> None:
    with serve_tiny_model() as (url, _):

        async def body() -> None:
            ids, reason = await collect(RemoteEngine(url).generate([1], ENDLESS))
            assert (len(ids), reason) == (255, "length")

        asyncio.run(body())


def test_closing_and_cancelling_end_the_request_on_the_server() -> None:
    with serve_tiny_model() as (url, local):

        async def body() -> None:
            remote = RemoteEngine(url)
            stream = remote.generate([1], ENDLESS)
            await anext(stream)
            await stream.aclose()
            stream = remote.generate([1], ENDLESS, request_id="r")
            await anext(stream)
            await remote.cancel("r")
            await remote.cancel("unknown")
            assert (await collect(stream))[1] == "cancelled"
            assert remote.stats().running == 0
            stream = remote.generate([1], ENDLESS)
            await anext(stream)
            await remote.close()
            assert (await collect(stream))[1] == "cancelled"
            with pytest.raises(EngineError, match="closed"):
                await anext(remote.generate([1], GREEDY))

        asyncio.run(body())
        wait_until(lambda: local.stats().running == 0)


def test_refusals_of_the_server_keep_their_kind_and_words() -> None:
    with serve_tiny_model() as (url, _):
        too_long = ask(url, [1] * 1000)
        assert isinstance(too_long, PromptError)
        assert "has 1000 tokens, but the context holds 256" in str(too_long)
        outside = ask(url, [300])
        assert isinstance(outside, PromptError)
        assert "token id 300" in str(outside)


@pytest.mark.parametrize(
    ("prompt", "sampling", "kind"),
    [([], GREEDY, PromptError), ([1], replace(GREEDY, max_new_tokens=0), ConfigError)],
)
def test_what_is_plainly_wrong_is_refused_without_a_server(
    prompt: list[int], sampling: SamplingParams, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        asyncio.run(collect(RemoteEngine("http://localhost:9").generate(prompt, sampling)))


@pytest.mark.parametrize("url", ["localhost:10000", "ftp://x", "http://", "http://a:port", ""])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not an address"):
        RemoteEngine(url)


def test_no_server() -> None:
    with serve_bytes(lambda connection: None) as url:
        pass
    error = ask(url)
    assert isinstance(error, ServerConnectionError)
    assert f"no model server answers at {url}" in str(error)
    assert "start it with" in str(error)


def test_a_server_that_dies_in_the_middle_of_a_reply() -> None:
    with answering(lambda connection: send_lines(connection, TOKEN, TOKEN)) as url:
        error = ask(url)
    assert isinstance(error, ServerConnectionError)
    assert "went away after 2 tokens" in str(error)


def test_tokens_before_the_death_of_the_server_are_delivered() -> None:
    with answering(lambda connection: send_lines(connection, TOKEN, TOKEN)) as url:

        async def body() -> None:
            stream = RemoteEngine(url).generate([1], GREEDY)
            assert (await anext(stream)).token_ids == (5,)
            assert (await anext(stream)).token_ids == (5,)
            with pytest.raises(ServerConnectionError):
                await anext(stream)

        asyncio.run(body())


def test_a_server_that_ends_the_reply_early() -> None:
    with answering(lambda connection: send_lines(connection, TOKEN, is_complete=True)) as url:
        error = ask(url)
    assert isinstance(error, ServerConnectionError)
    assert "before it was complete" in str(error)


def test_a_server_that_closes_without_an_answer() -> None:
    with answering(lambda connection: None) as url:
        error = ask(url)
    assert isinstance(error, ServerConnectionError)
    assert "went away after 0 tokens" in str(error)


def test_a_server_that_sends_an_error_line() -> None:
    line = b'{"text": "Server Error", "error_code": 1}\n'
    with answering(lambda connection: send_lines(connection, TOKEN, line)) as url:
        error = ask(url)
    assert isinstance(error, EngineError)
    assert "reports: Server Error" in str(error)


@pytest.mark.parametrize(
    "line", [b"<html>oops</html>\n", b"[]\n", b'{"token_id": "x"}\n', b"{}\n", b"\xff\xfe\n"]
)
def test_a_server_that_sends_something_else(line: bytes) -> None:
    with answering(lambda connection: send_lines(connection, line, is_complete=True)) as url:
        error = ask(url)
    assert isinstance(error, EngineError)
    assert "where a token was expected" in str(error)


def test_a_server_that_goes_silent() -> None:
    def stay_silent(connection: Connection) -> None:
        send_lines(connection, TOKEN)
        time.sleep(1)

    with answering(stay_silent) as url:
        error = ask(url, timeout_s=0.2)
    assert isinstance(error, ServerConnectionError)
    assert "sent nothing for 0.2 s" in str(error)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (b"404 Not Found", b"<h1>no</h1>", EngineError, "status 404: '<h1>no</h1>'"),
        (b"502 Bad Gateway", b"", EngineError, "status 502"),
        (
            b"429 Too Many Requests",
            b'{"text": "full, try again", "error_code": 1}',
            ServerBusyError,
            "full, try again",
        ),
        (
            b"503 Unavailable",
            b'{"text": "worker died", "error_code": 1, "error_type": "KeyboardInterrupt"}',
            EngineError,
            "worker died",
        ),
    ],
)
def test_other_statuses(status: bytes, body: bytes, kind: type[Exception], words: str) -> None:
    def refuse(connection: Connection) -> None:
        connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
        connection.sendall(body)

    with answering(refuse) as url:
        error = ask(url)
    assert isinstance(error, kind)
    assert words in str(error)


def test_a_full_server_says_so_and_recovers() -> None:
    with serve_tiny_model(max_concurrent=1, max_queue=0) as (url, local):

        async def body() -> None:
            remote = RemoteEngine(url)
            blocker = local.generate([1], ENDLESS)
            with pytest.raises(ServerBusyError, match="try again"):
                await collect(remote.generate([1], GREEDY))
            await collect(blocker)
            assert len((await collect(remote.generate([1], GREEDY)))[0]) == 20

        asyncio.run(body())


def test_ping_tells_a_failing_server() -> None:
    with serve_tiny_model() as (url, local):

        async def body() -> None:
            await local.close()
            with pytest.raises(EngineError, match="is failing: the engine is closed"):
                await RemoteEngine(url).ping()

        asyncio.run(body())


def test_one_engine_serves_several_event_loops() -> None:
    with serve_tiny_model() as (url, _):
        remote = RemoteEngine(url)
        first, second = (asyncio.run(collect(remote.generate([1], GREEDY))) for _ in "ab")
        assert first == second


def test_a_warm_up_leaves_the_server_less_to_compute() -> None:
    prompt = random_prompt(1, 60)
    with serve_tiny_model() as (url, local), slow_model(local, 0.0) as calls:

        async def body() -> None:
            remote = RemoteEngine(url)
            remote.warm_up(random_prompt(2, 30), "s")  # replaced before it is sent
            remote.warm_up(prompt[:50], "s")
            await asyncio.to_thread(wait_until, lambda: sum(calls) == 50)
            reply = await collect(remote.generate(prompt, GREEDY, session_id="s"))
            assert reply == (greedy_by_hand(prompt, 20), "length")

        asyncio.run(body())
        assert calls[:2] == [50, 10]


def test_a_warm_up_that_the_server_does_not_take_harms_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "antiphon")
    with serve_tiny_model() as (url, _):

        async def body() -> None:
            remote = RemoteEngine(url)
            remote.warm_up([10**6], "s")
            await asyncio.to_thread(wait_until, lambda: "no warm-up of session s" in caplog.text)
            assert len((await collect(remote.generate([1], GREEDY, session_id="s")))[0]) == 20
            await remote.close()
            remote.warm_up([1], "s")

        asyncio.run(body())
    assert "vocabulary" in caplog.text


def test_a_prompt_comes_before_the_warm_up_that_waits() -> None:
    with serve_tiny_model() as (url, local), slow_model(local, 0.0) as calls:

        async def body() -> None:
            remote = RemoteEngine(url)
            remote.warm_up([1] * 50, "s")
            await collect(remote.generate([2, 3], GREEDY, session_id="s"))
            assert not remote._warm_ups

        asyncio.run(body())
        assert calls[0] == 2
