"""The page answers on its port and leaves no file behind."""

import socket
import tempfile
import urllib.request

import pytest

from antiphon.config import DemoConfig
from antiphon.demo.layout import PageOptions
from antiphon.demo.serving import running_page
from tests.fake_pipeline import FakePipeline


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
