"""Agents are served where they are asked for, or the page does not start and says why."""

import json
import sys
from collections.abc import Callable
from importlib import metadata

import pytest
from starlette.testclient import TestClient

from antiphon.demo.app import PageApp, create_app
from antiphon.demo.layout import PageOptions
from antiphon.demo.ui import Backend, inside_event_loop
from antiphon.dialogue.vad import SileroDetector
from antiphon.errors import ConfigError
from antiphon.realtime.conversation_store import ConversationStore
from antiphon.realtime.parts import RealtimeParts
from tests.fake_pipeline import FakePipeline

PLACE = "/gradio_api/mcp/"
HEADERS = {"Accept": "application/json, text/event-stream"}
PROTOCOL = "2025-06-18"


@pytest.fixture
def make_page(tmp_path) -> Callable[[bool], PageApp]:
    def make(offers_mcp: bool) -> PageApp:
        parts = RealtimeParts(FakePipeline(), ConversationStore(tmp_path), SileroDetector())
        options = PageOptions(offers_mcp=offers_mcp)
        return inside_event_loop(lambda: create_app(Backend(parts), options))

    return make


def ask(client: TestClient, method: str, **params: object) -> dict[str, object]:
    """Call a method of the protocol; the answer is the only event of its stream."""
    asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = client.post(PLACE, headers=HEADERS, json=asked)
    assert answer.status_code == 200, answer.text
    data = next(line for line in answer.text.splitlines() if line.startswith("data: "))
    return json.loads(data.removeprefix("data: "))["result"]


def test_agents_find_the_endpoints(make_page):
    pytest.importorskip("mcp", reason="needs mcp (requirements-dev.txt)")
    with TestClient(make_page(True).app) as client:
        person = {"name": "test", "version": "1"}
        begun = ask(
            client, "initialize", protocolVersion=PROTOCOL, capabilities={}, clientInfo=person
        )
        assert begun["protocolVersion"] == PROTOCOL
        tools = {tool["name"]: tool["inputSchema"] for tool in ask(client, "tools/list")["tools"]}
    assert set(tools) == {"chat", "voice"}
    assert tools["chat"]["required"] == ["text"]
    assert tools["voice"]["required"] == ["audio"]


def test_agents_find_nothing_where_they_are_not_asked_for(make_page):
    with TestClient(make_page(False).app) as client:
        assert client.post(PLACE, headers=HEADERS, json={}).status_code in {404, 405}


def test_a_missing_package_is_reported(make_page, monkeypatch):
    def find(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", find)
    with pytest.raises(ConfigError, match=r"not installed.*pip install"):
        make_page(True)


def test_what_gradio_swallows_is_reported(make_page, monkeypatch):
    pytest.importorskip("gradio.mcp", reason="needs mcp (requirements-dev.txt)")

    def fail(*_: object) -> None:
        raise ImportError("no module named mcp.server")

    monkeypatch.setattr(sys.modules["gradio.mcp"], "GradioMCPServer", fail)
    with pytest.raises(ConfigError, match=r"no module named mcp\.server.*pip install"):
        make_page(True)
