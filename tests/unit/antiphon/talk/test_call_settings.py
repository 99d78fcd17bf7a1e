"""Addresses and settings in words become the socket's address and the session of the wire."""

import pytest

from antiphon.errors import ConfigError
from antiphon.talk.call_settings import Address, CallSettings, check_conversation

ID = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("url", "start"),
    [
        ("http://host:8888", "ws://host:8888/v1/realtime?conversation="),
        ("https://host", "wss://host/v1/realtime?"),
        ("ws://host:1/v1/realtime", "ws://host:1/v1/realtime?"),
        ("http://host/voice/", "ws://host/voice/v1/realtime?"),
        ("ws://host/?model=a", "ws://host/v1/realtime?model=a&conversation="),
    ],
)
def test_socket_url(url: str, start: str) -> None:
    socket_url = Address(url).socket_url(ID)
    assert socket_url.startswith(start)
    assert f"conversation={ID}" in socket_url
    assert socket_url.endswith("audio=binary")


@pytest.mark.parametrize("url", ["", "localhost:8888", "ftp://host", "http://", "http://a:x"])
def test_no_address(url: str) -> None:
    with pytest.raises(ConfigError, match="--url"):
        Address(url)


@pytest.mark.parametrize("name", ["", "abc", ID + "0", ID.upper(), "../" + ID[3:]])
def test_no_conversation(name: str) -> None:
    with pytest.raises(ConfigError, match="--conversation"):
        check_conversation(name)


def test_hands_free_session() -> None:
    session = CallSettings(sensitivity=0.75, silence_ms=600, voice="slt").to_session(48_000)
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 48_000}
    detection = session["audio"]["input"]["turn_detection"]
    assert (detection["threshold"], detection["silence_duration_ms"]) == (0.25, 600)
    assert detection["interrupt_response"] is True
    assert session["audio"]["output"] == {"voice": "slt"}
    assert "temperature" not in session


def test_push_to_talk_and_half_duplex() -> None:
    assert CallSettings(is_hands_free=False).to_session(16_000)["audio"]["input"] == {
        "format": {"type": "audio/pcm", "rate": 16_000},
        "turn_detection": None,
    }
    session = CallSettings(is_half_duplex=True).to_session(16_000)
    assert session["audio"]["input"]["turn_detection"]["interrupt_response"] is False
    assert session["antiphon"]["half_duplex"] is True


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sensitivity", 1.5),
        ("silence_ms", 20),
        ("temperature", -1.0),
        ("top_p", 0.0),
        ("max_tokens", 0),
        ("seed", -1),
        ("temperature", float("nan")),
    ],
)
def test_values_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name.replace("_", "-")):
        CallSettings(**{name: value})
