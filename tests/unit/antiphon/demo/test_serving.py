"""The page answers on its port, refuses a taken one in words, and leaves no file behind."""

import os
import socket
import tempfile
import urllib.request
from pathlib import Path

import pytest
from fake_pipeline import FakePipeline

from antiphon.config import DemoConfig
from antiphon.demo.serving import check_address, running_page, temporary_cache
from antiphon.demo.ui import PageOptions
from antiphon.errors import ConfigError


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_page_answers_and_cleans_up(free_port, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config = DemoConfig(port=free_port)
    with running_page(FakePipeline(), config, PageOptions()) as url:
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200
            assert b"Antiphon" in answer.read()
        assert any(tmp_path.glob("antiphon-page-*"))
    assert not any(tmp_path.glob("antiphon-page-*"))
    with socket.socket() as probe:
        assert probe.connect_ex(("localhost", free_port)) != 0


def test_taken_port_is_refused_in_words(free_port):
    with socket.socket() as other:
        other.bind(("localhost", free_port))
        other.listen()
        with pytest.raises(ConfigError, match=f"port {free_port}.*--port"):
            check_address("localhost", free_port)


def test_foreign_host_is_refused_in_words():
    with pytest.raises(ConfigError, match="--host"):
        check_address("192.0.2.1", 8888)


def test_environment_is_restored(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    monkeypatch.delenv("GRADIO_ANALYTICS_ENABLED", raising=False)
    with temporary_cache() as folder:
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
        assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert not Path(folder).exists()
    assert os.environ["GRADIO_TEMP_DIR"] == "before"
    assert "GRADIO_ANALYTICS_ENABLED" not in os.environ
