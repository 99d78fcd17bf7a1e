"""A taken port and a missing package are refused in words; the cache folder goes away."""

import os
import socket
from importlib import metadata
from pathlib import Path

import pytest

from antiphon.demo.environment import check_address, check_agents_package, temporary_cache
from antiphon.errors import ConfigError


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


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


@pytest.mark.parametrize(
    ("version", "words"), [(None, "not installed"), ("1.20.0", "1.20.0"), ("2.0.1", "2.0.1")]
)
def test_a_package_that_gradio_cannot_use_is_refused_in_words(monkeypatch, version, words):
    def find(name: str) -> str:
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", find)
    with pytest.raises(ConfigError, match=words) as refusal:
        check_agents_package()
    assert "pip install" in str(refusal.value)


def test_a_package_that_gradio_can_use_is_taken(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda _: "1.21.0")
    check_agents_package()
