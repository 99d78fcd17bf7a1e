"""Calls over a real websocket."""

import base64
import json
from pathlib import Path

from call_bench import REPLY_MS, REPLY_TEXT, Bench, served, spoken
from websockets.sync.client import ClientConnection, connect


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
