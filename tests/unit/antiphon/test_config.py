"""Settings from flags, environment and defaults; wrong ones are named."""

import pytest

from antiphon.config import (
    DemoConfig,
    ServerConfig,
    parse_config,
    resolve_device,
    resolve_dtype,
)
from antiphon.errors import ConfigError


def test_defaults_are_those_of_the_original() -> None:
    config = parse_config(ServerConfig, "x", [], {})
    assert (config.host, config.port, config.model_path) == ("localhost", 10_000, None)
    assert parse_config(DemoConfig, "x", [], {}).port == 8888


def test_flags_win_over_the_environment() -> None:
    env = {"ANTIPHON_SERVER_PORT": "7", "ANTIPHON_SERVER_DTYPE": "int4", "ANTIPHON_DEMO_SHARE": "1"}
    config = parse_config(ServerConfig, "x", ["--port", "9", "--model-path", "m"], env)
    assert (config.port, config.dtype, config.model_path) == (9, "int4", "m")
    assert parse_config(DemoConfig, "x", [], env).share
    assert not parse_config(DemoConfig, "x", [], {}).share


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--dtype", "fp8"], "'float32', 'bfloat16', 'float16', 'int8', 'int4'"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
        (["--port", "many"], "invalid int value"),
    ],
)
def test_wrong_flags_end_the_program(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_config(ServerConfig, "x", argv, {})
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"ANTIPHON_SERVER_PORT": "many"}, "ANTIPHON_SERVER_PORT='many' must be a whole number"),
        ({"ANTIPHON_SERVER_PORT": "70000"}, "--port 70000"),
        ({"ANTIPHON_SERVER_DTYPE": "fp8"}, "float32, bfloat16, float16, int8, int4"),
        ({"ANTIPHON_SERVER_LOG_LEVEL": "loud"}, "debug, info, warning, error"),
        ({"ANTIPHON_SERVER_MAX_CONCURRENT": "0"}, "--max-concurrent 0"),
    ],
)
def test_wrong_values_of_the_environment_are_named(env: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config(ServerConfig, "x", [], env)


def test_a_server_url_needs_a_scheme() -> None:
    with pytest.raises(ConfigError, match="must begin with http"):
        DemoConfig(server_url="example.org")


def test_device_and_dtype() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto")
    assert resolve_dtype("auto", "cpu") == "float32"
    assert resolve_dtype("auto", "cuda:1") == "bfloat16"
    assert resolve_dtype("int8", "cpu") == "int8"
    with pytest.raises(ConfigError, match="unknown"):
        resolve_device("gpu7")
    with pytest.raises(ConfigError, match="this machine offers only"):
        resolve_device("xpu" if resolve_device("auto") != "xpu" else "cuda")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--ssl-certfile", "c.pem"], "belong together"),
        (["--ssl-self-signed", "--ssl-certfile", "c.pem"], "leave it out"),
        (["--ssl-self-signed", "--share"], "https link of its own"),
    ],
)
def test_certificates_by_halves_are_refused(argv: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config(DemoConfig, "x", argv, {})
