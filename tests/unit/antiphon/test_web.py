"""The demo as a program: wrong use ends in one line, not in a traceback."""

import signal

import pytest

from antiphon import web


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was(monkeypatch):
    monkeypatch.setattr(web, "configure_logging", lambda level: None)
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
