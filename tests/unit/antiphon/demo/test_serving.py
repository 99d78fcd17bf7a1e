"""The page answers on its port and leaves no file behind."""

import socket
import tempfile
import urllib.request

import pytest

from antiphon.config import DemoConfig
from antiphon.demo.layout import PageOptions
from antiphon.demo.serving import Hearing, open_store, running_page
from antiphon.errors import ConfigError
from antiphon.realtime.conversation_store import ConversationItem
from tests.fake_pipeline import FakePipeline


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_page_answers_and_cleans_up(free_port, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config = DemoConfig(port=free_port)
    with running_page(FakePipeline(), config, PageOptions()) as url:
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200
            assert b"Antiphon" in answer.read()
        assert any(tmp_path.glob("antiphon-page-*"))
    assert not any(tmp_path.glob("antiphon-page-*"))
    with socket.socket() as probe:
        assert probe.connect_ex(("localhost", free_port)) != 0


@pytest.mark.parametrize(("conversations", "is_kept"), [(None, True), ("", False)])
def test_conversations_outlive_the_page_unless_told_otherwise(
    tmp_path, monkeypatch, conversations, is_kept
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config, hearing = DemoConfig(conversations=conversations), Hearing()
    store = open_store(config, hearing, tmp_path / "before")
    identity = store.open(None).id
    store.open(identity).put(ConversationItem("item_a", "user", "text", "hello"))
    again = open_store(config, hearing, tmp_path / "after")  # the first was killed
    assert [item.text for item in again.open(identity).items] == (["hello"] if is_kept else [])
    assert (tmp_path / "state").exists() is is_kept


def test_a_named_folder_that_cannot_be_made_is_refused_in_words(tmp_path):
    (tmp_path / "file").write_text("a file")
    config = DemoConfig(conversations=str(tmp_path / "file" / "folder"))
    with pytest.raises(ConfigError, match="--conversations"):
        open_store(config, Hearing(), tmp_path)
