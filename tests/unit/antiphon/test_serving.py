"""The program's errors: one clear line and an exit code, before anything heavy is imported."""

import socket
import subprocess
import sys
from contextlib import closing

import pytest

from antiphon import serving
from antiphon.config import DTYPES
from antiphon.engine import quantization
from antiphon.errors import ConfigError
from antiphon.server.listener import bind_port


@pytest.fixture(autouse=True)
def keep_logging_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the log handlers of the test run alone."""
    monkeypatch.setattr(serving, "configure_logging", lambda level: None)


def run_main(*flags: str) -> int:
    """Run the program in this process; gives its exit code."""
    try:
        return serving.main(flags)
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--dtype", "fp8"), 2, "'float32', 'bfloat16', 'float16', 'int8', 'int4'"),
        (("--colour", "red"), 2, "unrecognized arguments"),
        (("--device", "gpu7", "--port", "0"), 1, "--device 'gpu7' is unknown"),
        (("--host", "no.such.host.invalid"), 1, "--host 'no.such.host.invalid' is not a known"),
        (("--host", "192.0.2.1", "--port", "0"), 1, "cannot listen on 192.0.2.1:0"),
        (("--model-path", "./nothing/here", "--port", "0"), 1, "nothing/here"),
        (("--port", "70000"), 1, "--port 70000 is not a port"),
    ],
)
def test_wrong_flags_are_one_clear_line(
    flags: tuple[str, ...], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(*flags) == code
    told = capsys.readouterr().err
    assert words in told
    if code == 1:
        assert told.startswith("error: ")
        assert told.count("\n") == 1


def test_a_port_in_use_is_told_before_the_model_is_loaded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        assert run_main("--port", str(port), "--model-path", "unused") == 1
    assert capsys.readouterr().err == (
        f"error: port {port} on localhost is in use; stop the program that uses it or choose "
        "another with --port\n"
    )


def test_the_port_is_free_again_after_an_error() -> None:
    with closing(bind_port("localhost", 0)) as listener:
        port = listener.getsockname()[1]
    assert run_main("--port", str(port), "--model-path", "./nothing/here") == 1
    bind_port("localhost", port).close()


def test_two_servers_cannot_take_one_port() -> None:
    with closing(bind_port("localhost", 0)) as first:
        first.listen()
        with pytest.raises(ConfigError, match="in use"):
            bind_port("localhost", first.getsockname()[1])


def test_flags_offer_the_dtypes_there_are() -> None:
    assert tuple(quantization.DTYPES) == DTYPES


def test_flags_are_read_without_heavy_imports() -> None:
    code = (
        "import sys, antiphon.serving;"
        "heavy = {'torch', 'transformers', 'fastapi', 'pydantic'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    search_path = [entry for entry in sys.path if entry]
    script = f"import sys; sys.path[:0] = {search_path!r}; {code}"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
