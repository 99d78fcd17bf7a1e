"""OpenAI's own client holds a call: base64, server_vad, an interruption, typed words."""

import base64
from pathlib import Path

import pytest

from tests.call_bench import REPLY, REPLY_MS, REPLY_TEXT, Bench, pcm, served, silence, spoken
from tests.dialogue_fakes import FakeEngine

openai = pytest.importorskip("openai", reason="needs the openai package (requirements-dev.txt)")

# The client opens its socket in a way that websockets 17 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")


def until(connection, kind: str) -> list:
    events = []
    while not events or events[-1].type != kind:
        events.append(connection.recv())
    return events


def append(connection, data: bytes) -> None:
    for start in range(0, len(data), 9600):
        audio = base64.b64encode(data[start : start + 9600]).decode()
        connection.input_audio_buffer.append(audio=audio)


def test_the_official_client_is_answered(tmp_path: Path) -> None:
    with Bench(tmp_path).open() as parts, served(parts) as url:
        client = openai.OpenAI(
            api_key="none", websocket_base_url=url.removesuffix("/realtime"), max_retries=0
        )
        with client.realtime.connect(model="embedded") as connection:
            assert connection.recv().type == "session.created"
            connection.session.update(
                session={
                    "type": "realtime",
                    "output_modalities": ["audio"],
                    "audio": {
                        "input": {
                            "format": {"type": "audio/pcm", "rate": 24000},
                            "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
                        }
                    },
                }
            )
            until(connection, "session.updated")
            append(connection, spoken())
            events = until(connection, "response.done")
            deltas = [e for e in events if e.type == "response.output_audio.delta"]
            n_bytes = sum(len(base64.b64decode(e.delta)) for e in deltas)
            assert abs(n_bytes / 48 - REPLY_MS) <= 2
            done = events[-1].response
            assert done.status == "completed"
            assert done.output[0].content[0].transcript == REPLY_TEXT
            item = {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "Hello"}],
            }
            connection.conversation.item.create(item=item)
            connection.response.create()
            assert until(connection, "response.done")[-1].response.status == "completed"
        client.close()


def test_the_official_client_interrupts(tmp_path: Path) -> None:
    bench = Bench(tmp_path, engine=FakeEngine(REPLY, hang_at=50))
    with bench.open() as parts, served(parts) as url:
        client = openai.OpenAI(
            api_key="none", websocket_base_url=url.removesuffix("/realtime"), max_retries=0
        )
        with client.realtime.connect(model="embedded") as connection:
            append(connection, spoken())
            delta = until(connection, "response.output_audio.delta")[-1]
            connection.session.update(
                session={"type": "realtime", "antiphon": {"echo_guard": False}}
            )
            append(connection, pcm(0.5))
            events = until(connection, "response.done")
            assert "input_audio_buffer.speech_started" in [e.type for e in events]
            assert events[-1].response.status == "cancelled"
            assert events[-1].response.status_details.reason == "turn_detected"
            connection.conversation.item.truncate(
                item_id=delta.item_id, content_index=0, audio_end_ms=400
            )
            until(connection, "conversation.item.truncated")
            connection.response.cancel()
            assert until(connection, "error")[-1].error.code == "response_cancel_not_active"
            append(connection, silence(0.1))
        client.close()
