"""The demo as a program: wrong use ends in one line, not in a traceback."""

import os
import signal
from contextlib import contextmanager
from importlib import metadata

import pytest

from antiphon import web


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was(monkeypatch):
    monkeypatch.setattr(web, "configure_logging", lambda level: None)
    monkeypatch.setenv(web.PRIMITIVE_CACHE, "512")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--port", "70000"], "--port 70000"),
        (["--server-url", "ftp://host"], "must begin with http"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
        (["--model-path", "no/such/folder", "--port", "0"], "no/such/folder"),
    ],
)
def test_wrong_use_is_one_line(capsys, flags, words):
    assert web.main(flags) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("web_demo: ")
    assert words in line


def test_agents_without_their_package_are_refused_before_anything_is_loaded(capsys, monkeypatch):
    def find(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", find)
    monkeypatch.setattr(web, "run", lambda config: pytest.fail("the models are loaded"))
    assert web.main(["--mcp", "--port", "0"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--mcp needs the package mcp" in line


def test_unknown_flag_names_it(capsys):
    with pytest.raises(SystemExit) as stopped:
        web.main(["--prot", "8888"])
    assert stopped.value.code == 2
    assert "--prot" in capsys.readouterr().err


def test_help_lists_the_flags_of_the_original(capsys):
    with pytest.raises(SystemExit) as stopped:
        web.main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for flag in ("--host", "--port", "--flow-path", "--model-path", "--tokenizer-path"):
        assert flag in shown
    assert "--server-url" in shown


class RecordingParts:
    """A tokenizer and a decoder that write down what is asked of them."""

    def __init__(self):
        self.heard, self.asked, self.is_open = [], [], False

    def encode(self, waveform, sample_rate):
        self.heard.append((len(waveform), sample_rate))

    @contextmanager
    def open_stream(self):
        self.is_open = True
        yield self
        self.is_open = False

    def push(self, tokens):
        self.asked.append(len(tokens))

    def flush(self):
        self.asked.append("end")


def test_everything_is_used_once_before_the_page_opens():
    parts = RecordingParts()
    web.warm_up(parts, parts)
    assert parts.heard == [(16_000, 16_000)]
    assert parts.asked == [10, 10, "end"]
    assert not parts.is_open


@pytest.mark.parametrize(("set_before", "kept"), [("64", "64"), (None, "128")])
def test_prepared_convolutions_are_bounded(monkeypatch, capsys, set_before, kept):
    if set_before is None:
        monkeypatch.delenv(web.PRIMITIVE_CACHE)
    else:
        monkeypatch.setenv(web.PRIMITIVE_CACHE, set_before)
    assert web.main(["--port", "70000"]) == 1
    assert os.environ[web.PRIMITIVE_CACHE] == kept
