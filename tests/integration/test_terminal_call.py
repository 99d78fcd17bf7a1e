"""`antiphon talk` and `antiphon chat` against the server: fakes first, then the model."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import uvicorn
from call_bench import REPLY_MS, REPLY_TEXT, Bench, pcm, served
from fastapi import FastAPI

from antiphon.realtime.conversation_store import ConversationItem
from antiphon.realtime.parts import RealtimeOptions, RealtimeParts
from tests.programs import find_espeak

REPOSITORY = Path(__file__).resolve().parents[2]
EMBEDDED = REPOSITORY / "resources" / "embedded"
CONVERSATION = "0123456789abcdef" * 2
TIMEOUT_S = 60
SILENT_MS = 80  # the fakes' speech token 0, with which the reply begins, sounds as silence


def antiphon(*arguments: object) -> tuple[list[str], dict[str, str]]:
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "antiphon", *map(str, arguments)]
    return command, {**os.environ, "PYTHONPATH": path}


def run(*arguments: object, typed: str | None = None) -> subprocess.CompletedProcess[str]:
    command, environment = antiphon(*arguments)
    return subprocess.run(
        command, input=typed, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A second that the fakes take for speech, after some silence."""
    sound = np.frombuffer(pcm(1.0), "<i2")
    path = tmp_path / "question.flac"
    soundfile.write(path, np.concatenate([np.zeros(9_600, np.int16), sound]), 24_000)
    return path


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[RealtimeParts]:
    with Bench(tmp_path / "store").open() as opened:
        yield opened


@pytest.fixture
def url(parts: RealtimeParts) -> Iterator[str]:
    with served(parts) as address:
        yield address


def items(parts: RealtimeParts) -> list[ConversationItem]:
    return list(parts.store.open(CONVERSATION).items)


@pytest.mark.parametrize("mode", [(), ("--hands-free",)])
def test_clip_is_answered(mode: tuple[str, ...], url: str, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    done = run("talk", "--url", url, "--json", "--out", out, *mode, "--file", clip, "--no-wait")
    assert (done.returncode, done.stderr) == (0, "")
    row = json.loads(done.stdout)
    assert (row["text"], row["status"]) == (REPLY_TEXT, "completed")
    assert row["audio_s"] * 1_000 == pytest.approx(REPLY_MS, abs=2)
    assert row["timings"]["first_audio_s"] >= row["timings"]["endpoint_s"] >= 0
    assert soundfile.info(out).duration * 1_000 == pytest.approx(REPLY_MS, abs=2)


def test_typed_questions_share_the_conversation(url: str, tmp_path: Path) -> None:
    first = run("chat", "--url", url, "--conversation", CONVERSATION, typed="one\n")
    assert (first.returncode, first.stdout) == (0, REPLY_TEXT + "\n")
    saved = tmp_path / "saved.txt"
    typed = f"two\n/save {saved}\n"
    again = run("chat", "--url", url, "--conversation", CONVERSATION, typed=typed)
    assert again.returncode == 0, again.stderr
    answer = f"assistant: {REPLY_TEXT}\n"
    assert saved.read_text() == f"user: one\n{answer}user: two\n{answer}"


def test_stopped_reply_is_kept_as_far_as_it_was_heard(
    url: str, parts: RealtimeParts, clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.wav"
    flags = ("--url", url, "--conversation", CONVERSATION, "--out", out, "--json")
    command, environment = antiphon("talk", *flags, "--file", clip)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + TIMEOUT_S
        while not any(item.role == "assistant" for item in items(parts)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(1)  # the fakes' four seconds are there at once, and play
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert json.loads(text)["status"] in {"completed", "cancelled"}
    heard = soundfile.read(out)[0] != 0
    heard_ms = (len(heard) - heard[::-1].argmax() - heard.argmax()) / 24
    reply = items(parts)[-1]
    assert reply.status == "cut"
    assert reply.heard_ms == pytest.approx(heard_ms + SILENT_MS, abs=10)
    assert 500 < heard_ms < REPLY_MS - 500
    assert REPLY_TEXT.startswith(reply.text)


def test_refusals_are_told(tmp_path: Path, clip: Path) -> None:
    options = RealtimeOptions(max_calls=1)
    with Bench(tmp_path / "one", options=options).open() as parts, served(parts) as url:
        command, environment = antiphon("chat", "--url", url)
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe) as first:
            assert first.stdin is not None and first.stdout is not None
            first.stdin.write(b"one\n")
            first.stdin.flush()
            assert first.stdout.readline()  # the only line is taken
            done = run("talk", "--url", url, "--file", clip)
            assert done.returncode == 1
            assert "takes no call now" in done.stderr
            assert "1 calls are open" in done.stderr
            first.communicate(timeout=TIMEOUT_S)


@asynccontextmanager
async def embedded_server(root: Path) -> AsyncIterator[str]:
    """The shipped model behind the live call."""
    from antiphon.assembly import ModelChoice, load_parts, open_pipeline
    from antiphon.dialogue.vad import SileroDetector
    from antiphon.realtime.conversation_store import ConversationStore
    from antiphon.realtime.socket import create_realtime_router

    bundle = await asyncio.to_thread(load_parts, ModelChoice())
    store = ConversationStore(root)
    async with open_pipeline(bundle) as pipeline:
        layout = bundle.text_tokenizer.layout
        parts = RealtimeParts(pipeline, store, SileroDetector(), layout)
        app = FastAPI()
        app.include_router(create_realtime_router(parts))
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        server.should_exit = True
        await task
    store.close()


@pytest.mark.slow
def test_the_shipped_model_answers_a_spoken_question(tmp_path: Path) -> None:
    espeak = find_espeak()
    if not (EMBEDDED / "lm").is_dir():
        pytest.skip(f"needs the embedded model in {EMBEDDED}")
    clip, out = tmp_path / "question.wav", tmp_path / "out.wav"
    subprocess.run([espeak, "-w", clip, "what is three plus four"], check=True)

    async def work() -> None:
        async with embedded_server(tmp_path / "store") as url:
            flags = ("--url", url, "--hands-free", "--json", "--out", out)
            command, environment = antiphon("talk", *flags, "--file", clip)
            process = await asyncio.create_subprocess_exec(
                *command, env=environment, stdout=asyncio.subprocess.PIPE
            )
            text, _ = await asyncio.wait_for(process.communicate(), 2 * TIMEOUT_S)
            assert process.returncode == 0
            row = json.loads(text)
            assert "seven" in row["text"].lower()
            assert row["audio_s"] > 0.5
            assert row["heard_s"] > 0

    asyncio.run(work())
    waveform, _ = soundfile.read(out)
    assert np.abs(waveform).max() > 0.05
