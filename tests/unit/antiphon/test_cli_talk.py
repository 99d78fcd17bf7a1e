"""`antiphon talk` and `antiphon chat` as people run them: output, files, exit codes, Ctrl-C."""

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from antiphon import cli, cli_chat, cli_talk
from antiphon.errors import ConfigError
from tests.fake_call_server import FakeCallServer, Script, fake_call_server, run_to_the_end, until

REPOSITORY = Path(__file__).resolve().parents[3]
ITEM = "conversation.item.create"


def write_clip(folder: Path, name: str = "q.wav", rate: int = 22_050) -> Path:
    """Half a second in two channels at an odd rate."""
    clip = 0.2 * np.sin(np.arange(rate // 2) / 20)
    path = folder / name
    soundfile.write(path, np.stack([clip, clip], 1), rate)
    return path


class Run:
    """An `antiphon` command in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    async def end(self, typed: str | None = None) -> tuple[int, str, str]:
        out, err = await self.process.communicate(None if typed is None else typed.encode())
        assert "Traceback" not in err.decode(), err.decode()
        return self.process.returncode or 0, out.decode(), err.decode()


@asynccontextmanager
async def antiphon(*arguments: object, stdin: int = asyncio.subprocess.PIPE) -> AsyncIterator[Run]:
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "antiphon", *map(str, arguments)),
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        cwd=REPOSITORY,
    )
    try:
        yield Run(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def with_server(script: Script, work: Callable[[FakeCallServer], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with fake_call_server(script) as server:
            await work(server)

    run_to_the_end(whole)


def test_clips_give_json_lines_and_one_wav(tmp_path: Path) -> None:
    clips = [write_clip(tmp_path), tmp_path / "none.wav", write_clip(tmp_path, "p.flac", 48_000)]
    out, log = tmp_path / "out.wav", tmp_path / "log.jsonl"

    async def work(server: FakeCallServer) -> None:
        flags = ("--url", server.url, "--out", out, "--log", log, "--json", "--no-wait")
        async with antiphon("talk", *flags, "--file", *clips) as run:
            code, text, err = await run.end()
        assert code == 1  # one of them is missing
        rows = [json.loads(line) for line in text.splitlines()]
        assert [row.get("text") for row in rows] == ["It is seven.", None, "It is seven."]
        assert "none.wav" in rows[1]["error"] and "none.wav" in err
        assert rows[0]["audio_s"] == 0.6
        assert rows[0]["timings"]["first_audio_s"] == 0.7
        assert (rows[0]["tokens"], rows[0]["rtf"]) == (10, 0.5)
        assert rows[0]["conversation"] == rows[2]["conversation"]
        assert server.n_sound_bytes == 2 * 16_000  # twice half a second at 16 kHz

    with_server(Script(), work)
    waveform, rate = soundfile.read(out)
    assert (len(waveform), rate) == (2 * 14_400, 24_000)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert {event["from"] for event in events} == {"client", "server"}
    assert sum(event.get("n_samples", 0) for event in events) == len(waveform)


def test_paced_file_holds_silence_where_nothing_played(tmp_path: Path) -> None:
    clip, out = write_clip(tmp_path), tmp_path / "out.wav"

    async def work(server: FakeCallServer) -> None:
        flags = ("--url", server.url, "--out", out)
        async with antiphon("talk", *flags, "--file", clip) as run:
            code, text, _ = await run.end()
        assert (code, text) == (0, "It is seven.\n")

    with_server(Script(), work)
    waveform, _ = soundfile.read(out)
    assert not waveform[:9_600].any()  # while the question was spoken
    assert (waveform != 0).sum() == pytest.approx(14_400, abs=100)


def test_ctrl_c_stops_the_reply_and_goes_on(tmp_path: Path) -> None:
    clips = [write_clip(tmp_path, f"{n}.wav") for n in range(2)]

    async def work(server: FakeCallServer) -> None:
        async with antiphon("talk", "--url", server.url, "--json", "--file", *clips) as run:
            await until(lambda: server.named("antiphon.playback"))
            server.script.n_blocks = 1  # the second answer is short
            run.interrupt()
            code, text, _ = await run.end()
        rows = [json.loads(line) for line in text.splitlines()]
        assert code == 0
        assert [row["status"] for row in rows] == ["cancelled", "completed"]
        assert len(server.named("response.cancel")) == 1
        assert server.named("conversation.item.truncate")[0]["audio_end_ms"] > 0

    with_server(Script(n_blocks=200, pause_s=0.05), work)


def test_ctrl_c_twice_leaves_and_keeps_what_was_heard(tmp_path: Path) -> None:
    clip, out = write_clip(tmp_path), tmp_path / "out.wav"

    async def work(server: FakeCallServer) -> None:
        flags = ("--url", server.url, "--out", out)
        async with antiphon("talk", *flags, "--file", *[clip] * 9) as run:
            await until(lambda: server.named("antiphon.playback"))
            run.interrupt()
            await until(lambda: server.named("response.cancel"))
            run.interrupt()
            code, _, _ = await run.end()
        assert code == 130
        assert soundfile.read(out)[0].any()

    with_server(Script(n_blocks=200, pause_s=0.05), work)


def test_pipe_asks_line_by_line(tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"

    async def work(server: FakeCallServer) -> None:
        async with antiphon("chat", "--url", server.url) as run:
            lines = f"one\n\ntwo\n/save {saved}\n/new\nthree\n/what\n/quit\nfour\n"
            code, text, err = await run.end(lines)
        assert code == 0
        assert text == "It is seven.\n" * 3
        typed = [event["item"]["content"][0]["text"] for event in server.named(ITEM)]
        assert typed == ["one", "two", "three"]
        assert len(set(server.paths)) == 2  # two conversations
        assert "/save FILE" in err

    with_server(Script(), work)
    items = json.loads(saved.read_text())["items"]
    assert [item["text"] for item in items] == ["one", "It is seven.", "two", "It is seven."]


def test_chat_writes_sound(tmp_path: Path) -> None:
    out = tmp_path / "out.wav"

    async def work(server: FakeCallServer) -> None:
        async with antiphon("chat", "--url", server.url, "--out", out) as run:
            assert (await run.end("one\ntwo"))[0] == 0
        assert server.named("session.update")[0]["session"]["output_modalities"] == ["audio"]

    with_server(Script(), work)
    assert soundfile.info(out).frames == 2 * 14_400


def test_typing_and_ctrl_c_on_a_terminal() -> None:
    async def work(server: FakeCallServer) -> None:
        ours, theirs = pty.openpty()
        async with antiphon("chat", "--url", server.url, stdin=theirs) as run:
            os.close(theirs)
            await until(lambda: server.named("session.update"))
            os.write(ours, b"count\n")
            await until(lambda: server.n_responses == 1)
            run.interrupt()  # stops
            await until(lambda: server.named("response.cancel"))
            await asyncio.sleep(0.5)  # the stopped answer ends meanwhile
            server.script.n_blocks, server.script.pause_s = 1, 0
            os.write(ours, b"again\n")
            await until(lambda: server.n_responses == 2)
            os.write(ours, b"\x04")  # Ctrl-D leaves
            code, text, _ = await run.end()
        os.close(ours)
        assert code == 0
        assert text.startswith("you> It")
        assert text.endswith("you> It is seven.\nyou> \n")

    with_server(Script(n_blocks=400, pause_s=0.05), work)


def test_chat_is_left_by_ctrl_c_twice() -> None:
    async def work(server: FakeCallServer) -> None:
        async with antiphon("chat", "--url", server.url) as run:
            assert run.process.stdin is not None
            run.process.stdin.write(b"count\nagain\n")
            await until(lambda: server.n_responses == 1)
            run.interrupt()
            await until(lambda: server.named("response.cancel"))
            run.interrupt()
            code, _, _ = await run.end()
        assert code == 0
        assert server.n_responses <= 2

    script = Script(n_blocks=400, pause_s=0.05)
    with_server(script, work)


def test_lost_connection_is_told(tmp_path: Path) -> None:
    clips = [write_clip(tmp_path)] * 2

    async def work(server: FakeCallServer) -> None:
        flags = ("--url", server.url, "--no-wait", "--file")
        async with antiphon("talk", *flags, *clips) as run:
            code, text, err = await run.end()
        assert (code, text) == (1, "It is seven.\n")
        assert "trying again" in err and "connected again" in err and "ask again" in err

    with_server(Script(lose_after=2), work)


def test_chat_calls_again_after_an_idle_time() -> None:
    async def work(server: FakeCallServer) -> None:
        async with antiphon("chat", "--url", server.url) as run:
            assert run.process.stdin is not None
            run.process.stdin.write(b"one\n")
            await until(lambda: server.n_ended)
            await asyncio.sleep(0.3)
            code, text, _ = await run.end("two\n")
        assert (code, text) == (0, "It is seven.\n" * 2)
        assert len(server.paths) == 2
        assert len(set(server.paths)) == 1  # the same conversation

    with_server(Script(end_call=True), work)


@pytest.mark.parametrize("command", ["talk", "chat"])
def test_no_server(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--file", str(write_clip(tmp_path))] if command == "talk" else []
    assert cli.main([command, "--url", "http://127.0.0.1:9", *files]) == 1
    err = capsys.readouterr().err
    assert "nothing listens there" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "x.wav"], "--out belongs to --file"),
        (["--json"], "--json belongs to --file"),
        (["--file", "a.wav", "--out", "/no/such/folder/x.wav"], "cannot write a file there"),
        (["--file", "a.wav", "--top-p", "2"], "--top-p 2.0: expected"),
        (["--file", "a.wav", "--conversation", "x"], "--conversation 'x'"),
        (["--file", "a.wav", "--url", "host"], "--url 'host'"),
        (["--file", "a.wav", "--log", "/no/such/folder/x"], "--log /no/such"),
    ],
)
def test_flags_that_make_no_sense(
    arguments: Sequence[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["talk", *arguments]) == 1
    assert words in capsys.readouterr().err


def test_speak_or_out() -> None:
    with pytest.raises(ConfigError, match="choose one"):
        cli_chat.main(["--speak", "--out", "a.wav"])


def test_mode_of_turns() -> None:
    def hands_free(*arguments: str) -> bool:
        return cli_talk.read_settings(cli_talk.build_parser().parse_args(arguments)).is_hands_free

    assert hands_free()
    assert not hands_free("--push-to-talk")
    assert not hands_free("--file", "a.wav")
    assert hands_free("--file", "a.wav", "--hands-free")
