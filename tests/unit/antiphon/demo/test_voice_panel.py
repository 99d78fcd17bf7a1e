"""The panel's files belong together, and its shell says where they are."""

import json
import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from antiphon.demo.voice_panel import (
    HOST_CLASS,
    build_voice_panel,
    panel_static_files,
    panel_static_folder,
)

FOLDER = panel_static_folder()
FILES = sorted(FOLDER.iterdir())


@pytest.fixture(scope="module")
def dictionary() -> dict[str, dict[str, str]]:
    return json.loads((FOLDER / "dictionary.json").read_text("utf-8"))


def test_the_shell_carries_the_addresses():
    panel = build_voice_panel(static_url="files", socket_url="wss://there/x", model="m")
    assert HOST_CLASS in panel.html_template
    wanted = {"static_url": "files", "socket_url": "wss://there/x", "model": "m", "language": None}
    assert wanted.items() <= panel.props.items()
    assert panel.props["conversation_url"] == "conversation"
    assert "'/panel.js'" in panel.js_on_load


def test_files_are_served_and_never_used_stale():
    app = FastAPI()
    app.mount("/panel", panel_static_files())
    with TestClient(app) as client:
        for name, kind in (("panel.js", "javascript"), ("panel.css", "css")):
            answer = client.get(f"/panel/{name}")
            assert answer.status_code == 200
            assert kind in answer.headers["content-type"]
            assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_are_short_and_ask_no_other_host(path):
    text = path.read_text("utf-8")
    assert text.count("\n") <= 400
    assert not re.search(r"(https?|wss?)://", text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_imports_lead_to_files(path):
    for name in re.findall(r"""from '\./([^']+)'|'(\w+_worklet\.js)'""", path.read_text("utf-8")):
        assert (FOLDER / "".join(name)).is_file()


def test_errors_that_are_passed_over_are_ones_the_server_sends():
    text = (FOLDER / "socket_events.js").read_text("utf-8")
    sets = re.findall(r"= new Set\(\[([^\]]+)\]\)", text)
    codes = {code for each in sets for code in re.findall(r"'(\w+)'", each)}
    server = FOLDER.parents[1] / "realtime"
    sent = "".join(path.read_text("utf-8") for path in server.glob("*.py"))
    assert codes
    assert [code for code in sorted(codes) if f'"{code}"' not in sent] == []


def test_both_languages_have_the_same_words(dictionary):
    assert set(dictionary) == {"en", "zh"}
    assert dictionary["en"].keys() == dictionary["zh"].keys()
    for key, words in dictionary["en"].items():
        names = re.findall(r"\{\w+\}", words)
        assert sorted(names) == sorted(re.findall(r"\{\w+\}", dictionary["zh"][key])), key


def test_every_word_that_is_asked_for_is_there(dictionary):
    html = (FOLDER / "panel.html").read_text("utf-8")
    asked = set(re.findall(r"""data-(?:say|aria-label|title|placeholder)="(\w+)\"""", html))
    scripts = "".join(path.read_text("utf-8") for path in FILES if path.suffix == ".js")
    asked |= set(re.findall(r"""\.say\('(\w+)'""", scripts))
    asked |= {f"problem_{code}" for code in re.findall(r"code: '(\w+)'", scripts)}
    asked |= {f"state_{state}" for state in re.findall(r"return '([a-z]+)';", scripts)}
    known = dictionary["en"].keys()
    assert asked - {"state_en"} <= known, asked - known


def test_every_action_of_a_message_has_a_name(dictionary):
    text = (FOLDER / "notices.js").read_text("utf-8")
    table = text[text.index("const ACTIONS") : text.index("const MILD")]
    codes = re.findall(r"^  (\w+): \[", table, re.MULTILINE)
    actions = {
        name for row in re.findall(r"\[([^\]]+)\]", table) for name in re.findall(r"\w+", row)
    }
    assert codes
    assert actions
    assert {f"problem_{code}" for code in codes} <= dictionary["en"].keys()
    assert {f"act_{action}" for action in actions} <= dictionary["en"].keys()
