"""The model server on a real port: hanging up, many clients, and the program itself."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from torch import Tensor

from antiphon.engine.local_engine import LocalEngine
from antiphon.engine.model_runner import Row
from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer
from antiphon.server.listener import bind_port
from tests.engine_bench import runner_of
from tests.tiny_checkpoints import write_tiny_lm
from tests.tiny_glm import wait_until
from tests.tiny_server import serve_tiny_model

REPOSITORY = Path(__file__).resolve().parents[2]
ENDLESS = {"prompt_token_ids": [1, 2, 3], "max_new_tokens": 10**9, "stop_token_ids": []}


def count_steps(engine: LocalEngine, delay_s: float) -> list[float]:
    """Slow the model down; gives the list of times at which it ran."""
    runner = runner_of(engine)
    run, times = runner.run, []

    def slow_run(rows: Sequence[Row]) -> Tensor:
        times.append(time.monotonic())
        time.sleep(delay_s)
        return run(rows)

    runner.run = slow_run  # type: ignore[method-assign]
    return times


def test_a_client_that_hangs_up_frees_its_place_within_one_step() -> None:
    with serve_tiny_model() as (url, engine):
        steps = count_steps(engine, 0.1)
        with httpx.Client(trust_env=False) as client:
            with client.stream("POST", f"{url}/generate_stream", json=ENDLESS) as reply:
                lines = reply.iter_lines()  # kept: dropping it hangs up
                next(lines)
                assert engine.stats().running == 1
            hung_up = time.monotonic()
            wait_until(lambda: engine.stats().running == 0, timeout_s=2)
        # The step under way when the line is cut may end, and the server needs a moment to see it.
        assert len([start for start in steps if start > hung_up + 0.05]) <= 1


def test_a_client_that_hangs_up_while_it_waits_leaves_the_queue() -> None:
    with serve_tiny_model(max_concurrent=1) as (url, engine):
        count_steps(engine, 0.02)
        with (
            httpx.Client(trust_env=False) as client,
            client.stream("POST", f"{url}/generate_stream", json=ENDLESS) as first,
        ):
            lines = first.iter_lines()  # kept: dropping it hangs up
            next(lines)
            with client.stream("POST", f"{url}/generate_stream", json=ENDLESS):
                assert (engine.stats().running, engine.stats().waiting) == (1, 1)
            wait_until(lambda: engine.stats().waiting == 0, timeout_s=2)
            assert engine.stats().running == 1


def test_a_full_queue_is_429_with_retry_after() -> None:
    with serve_tiny_model(max_concurrent=1, max_queue=0) as (url, engine):
        count_steps(engine, 0.1)
        with (
            httpx.Client(trust_env=False) as client,
            client.stream("POST", f"{url}/generate_stream", json=ENDLESS),
        ):
            refused = client.post(f"{url}/generate_stream", json=ENDLESS)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) > 0
            assert "0 requests wait" in refused.json()["text"]
            assert "try again" in refused.json()["text"]
            wait_until(lambda: client.get(f"{url}/health").json()["running"] == 1)


def test_health_fails_when_the_worker_is_gone() -> None:
    with serve_tiny_model() as (url, engine), httpx.Client(trust_env=False) as client:
        assert client.get(f"{url}/health").status_code == 200
        asyncio.run(engine.close())
        assert client.get(f"{url}/health").status_code == 503
        assert client.post(f"{url}/generate_stream", json=ENDLESS).status_code == 503


def test_many_clients_that_come_and_go_leave_nothing_behind() -> None:
    rng = random.Random(1)

    async def one(client: httpx.AsyncClient, url: str, number: int) -> str:
        body: dict[str, object] = {"prompt_token_ids": [number, 2], "max_new_tokens": 15}
        kind = rng.choice(["good", "good", "hang up", "bad id", "bad field"])
        if kind == "bad id":
            body["prompt_token_ids"] = [10_000]
        elif kind == "bad field":
            body["top_p"] = -1
        async with client.stream("POST", f"{url}/generate_stream", json=body) as reply:
            if kind.startswith("bad"):
                assert reply.status_code == 400
                return kind
            assert reply.status_code == 200
            n_lines = 0
            async for line in reply.aiter_lines():
                assert json.loads(line)["error_code"] == 0
                n_lines += 1
                if kind == "hang up":
                    return kind
            assert 1 <= n_lines <= 15
        return kind

    async def all_of_them(url: str) -> list[str]:
        limits = httpx.Limits(max_connections=16)
        async with httpx.AsyncClient(limits=limits, trust_env=False, timeout=30) as client:
            return await asyncio.gather(*(one(client, url, number) for number in range(80)))

    with serve_tiny_model(max_concurrent=4, max_queue=20) as (url, engine):
        kinds = asyncio.run(all_of_them(url))
        wait_until(lambda: engine.stats().running + engine.stats().waiting == 0)
    assert set(kinds) == {"good", "hang up", "bad id", "bad field"}


@pytest.fixture(scope="module")
def tiny_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny language model in the official file format."""
    return write_tiny_lm(tmp_path_factory.mktemp("checkpoint") / "lm")


def program(*flags: str) -> subprocess.Popen[str]:
    """Start model_server.py."""
    search_path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "third_party/Matcha-TTS")])
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / "model_server.py"), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": search_path, "HF_HUB_OFFLINE": "1"},
    )


def free_port() -> int:
    """Find a port that nobody uses."""
    with closing(bind_port("localhost", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running_program(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run model_server.py on a model until it answers; kills it at the end."""
    url = f"http://localhost:{(port := free_port())}"
    process = program("--model-path", str(folder), "--port", str(port), "--device", "cpu")

    def answers() -> bool:
        assert process.poll() is None, process.communicate()[1]
        try:
            return httpx.get(f"{url}/health", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, timeout_s=180)
        yield url, process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_stopping_the_server_ends_running_replies_and_says_so() -> None:
    with httpx.Client(trust_env=False) as client:
        with serve_tiny_model() as (url, engine):
            count_steps(engine, 0.05)
            body = {**ENDLESS, "finish_line": True}
            request = client.build_request("POST", f"{url}/generate_stream", json=body)
            lines = client.send(request, stream=True).iter_lines()
            next(lines)
        assert json.loads(list(lines)[-1]) == {"finish_reason": "cancelled", "error_code": 0}


def test_the_program_answers_and_stops_on_interrupt_in_the_middle_of_a_reply(
    tiny_lm: Path,
) -> None:
    layout = GlmTextTokenizer.from_pretrained(tiny_lm).layout
    body = {"prompt": "<|user|>\nhello<|assistant|>streaming_transcription\n", "temperature": 0}
    with running_program(tiny_lm) as (url, process), httpx.Client(trust_env=False) as client:
        lines = client.post(f"{url}/generate_stream", json=body).text.splitlines()
        assert len(lines) == 256
        assert all(0 <= json.loads(line)["token_id"] < layout.vocab_size for line in lines)
        assert client.get(f"{url}/v1/models").json()["data"][0]["id"] == "lm"
        long = {**body, "max_new_tokens": 10**9, "stop_token_ids": []}
        with client.stream("POST", f"{url}/generate_stream", json=long) as reply:
            stream = reply.iter_lines()
            next(stream)
            process.send_signal(signal.SIGINT)
            _, log = process.communicate(timeout=20)
    assert process.returncode == 0, log
    assert "Traceback" not in log
