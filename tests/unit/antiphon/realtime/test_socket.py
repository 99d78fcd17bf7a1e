"""Calls over a real websocket."""

import base64
import json
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from antiphon.realtime.parts import RealtimeOptions
from tests.call_bench import REPLY, REPLY_MS, REPLY_TEXT, Bench, served, spoken
from tests.dialogue_fakes import FakeEngine


def until(socket: ClientConnection, kind: str) -> tuple[list[dict], bytes]:
    """Receive until an event of a kind came; gives all events and all sound."""
    events, sound = [], b""
    while not events or events[-1]["type"] != kind:
        frame = socket.recv(timeout=10)
        if isinstance(frame, bytes):
            sound += frame
        else:
            events.append(json.loads(frame))
    return events, sound


def test_a_spoken_question_is_answered_in_binary(tmp_path: Path) -> None:
    with Bench(tmp_path).open() as parts, served(parts) as url:
        with connect(f"{url}?audio=binary", compression=None) as socket:
            data = spoken()
            for start in range(0, len(data), 1920):
                socket.send(data[start : start + 1920])
            events, sound = until(socket, "response.done")
        done = events[-1]["response"]
        assert done["status"] == "completed"
        assert done["output"][0]["content"][0]["transcript"] == REPLY_TEXT
        assert abs(len(sound) / 48 - REPLY_MS) <= 2
        assert abs(done["antiphon"]["audio_ms"] - REPLY_MS) <= 2
        deltas = [each for each in events if each["type"] == "response.output_audio.delta"]
        assert all(each["delta"] == "" for each in deltas)
        assert sum(each["antiphon"]["n_samples"] for each in deltas) * 2 == len(sound)


def test_a_spoken_question_is_answered_in_base64(tmp_path: Path) -> None:
    with Bench(tmp_path).open() as parts, served(parts) as url:
        with connect(f"{url}?model=any") as socket:
            socket.send(
                json.dumps(
                    {
                        "type": "input_audio_buffer.append",
                        "audio": base64.b64encode(spoken()).decode(),
                    }
                )
            )
            events, sound = until(socket, "response.done")
        assert events[-1]["response"]["status"] == "completed"
        deltas = [each for each in events if each["type"] == "response.output_audio.delta"]
        n_bytes = sum(len(base64.b64decode(each["delta"])) for each in deltas)
        assert not sound
        assert abs(n_bytes / 48 - REPLY_MS) <= 2


def test_a_call_whose_socket_dies_is_freed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, engine=FakeEngine(REPLY, hang_at=50))
    with bench.open() as parts, served(parts) as url:
        with connect(f"{url}?audio=binary&conversation={'a' * 32}", compression=None) as socket:
            socket.send(spoken())
            until(socket, "response.output_audio.delta")
            stored = parts.store.get("a" * 32)
            assert stored is not None and stored.n_open == 1
            socket.socket.shutdown(2)  # no closing handshake
        died = time.monotonic()
        while stored.n_open or bench.engine.n_open or stored.session.is_answering:
            assert time.monotonic() - died < 5
            time.sleep(0.01)
        with connect(f"{url}?conversation={'a' * 32}", compression=None) as again:
            events, _ = until(again, "antiphon.history")
            assert [each["role"] for each in events[-1]["items"]] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [("audio=opus", 1008, "binary or base64"), ("conversation=xyz", 1008, "32 digits")],
)
def test_a_bad_address_is_refused_in_words(
    tmp_path: Path, query: str, code: int, words: str
) -> None:
    with (
        Bench(tmp_path).open() as parts,
        served(parts) as url,
        connect(f"{url}?{query}") as socket,
    ):
        assert words in json.loads(socket.recv())["error"]["message"]
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=5)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == code


def test_more_calls_than_there_is_room_for_are_sent_away(tmp_path: Path) -> None:
    bench = Bench(tmp_path, options=RealtimeOptions(max_calls=1))
    with bench.open() as parts, served(parts) as url, connect(url) as first:
        until(first, "session.created")
        with connect(url) as second:
            assert json.loads(second.recv())["error"]["code"] == "server_full"
            with pytest.raises(ConnectionClosed) as closed:
                second.recv(timeout=5)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013


def test_a_call_without_a_word_is_ended(tmp_path: Path) -> None:
    bench = Bench(tmp_path, options=RealtimeOptions(idle_timeout_s=0.2))
    with bench.open() as parts, served(parts) as url, connect(url) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            for _ in range(10):
                socket.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008 and "nobody said" in closed.value.rcvd.reason
