"""Settings of the two servers: frozen dataclasses from flags, environment variables and defaults.

Flags win over the environment (ANTIPHON_SERVER_PORT, ANTIPHON_DEMO_PORT, ...), which wins over
defaults. Knows nothing of models; paths are only names here.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import ClassVar, TypeVar

from antiphon.errors import ConfigError

DTYPES = ("float32", "bfloat16", "float16", "int8", "int4")
ATTENTIONS = ("auto", "exact", "sdpa", "flash")
LOG_LEVELS = ("debug", "info", "warning", "error")
SERVER_HOST = "localhost"
SERVER_PORT = 10_000
DEMO_PORT = 8888


Setting = TypeVar("Setting", str, int, bool, str | None)
Config = TypeVar("Config", "ServerConfig", "DemoConfig")


def resolve_device(device: str) -> str:
    """Turn "auto" into the name of the accelerator that is present, else "cpu".

    Raises:
        ConfigError: If `device` is not a device name of torch, or is not present.
    """
    import torch  # not at the top: flags and --help answer at once

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if device == "auto":
        return accelerator.type if accelerator is not None else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(
            f"--device {device!r} is unknown; use auto, cpu, cuda or cuda:N"
        ) from error
    present = {"cpu"} | ({accelerator.type} if accelerator is not None else set())
    if wanted.type not in present:
        raise ConfigError(
            f"--device {device}: this machine offers only {', '.join(sorted(present))}; "
            "use --device auto"
        )
    return device


def resolve_dtype(dtype: str, device: str) -> str:
    """Turn "auto" into float32 on a CPU and bfloat16 elsewhere."""
    if dtype != "auto":
        return dtype
    return "float32" if device.partition(":")[0] == "cpu" else "bfloat16"


def setting(default: Setting, text: str, choices: Sequence[str] = ()) -> Setting:
    """Declare one setting with its help text and, where limited, its choices."""
    return field(default=default, metadata={"help": text, "choices": tuple(choices)})


def check_port(port: int) -> None:
    """Refuse what is no TCP port."""
    if not 0 <= port <= 65_535:
        raise ConfigError(f"--port {port} is not a port; use 1 to 65535 (0 picks a free one)")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a value that is not one of `choices`."""
    if value not in choices:
        raise ConfigError(f"{name} {value!r} is not known; choose from {', '.join(choices)}")


@dataclass(frozen=True)
class ServerConfig:
    """Settings of the model server; the first five are the flags of the original.

    Raises:
        ConfigError: If a value is not acceptable.
    """

    env_prefix: ClassVar[str] = "ANTIPHON_SERVER_"

    host: str = setting(SERVER_HOST, "address to listen on")
    port: int = setting(SERVER_PORT, "port to listen on")
    model_path: str | None = setting(
        None, "folder or hub name of the language model; none: the embedded one"
    )
    dtype: str = setting(
        "auto",
        "number format of the weights; auto: float32 on a CPU, else bfloat16",
        ("auto", *DTYPES),
    )
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    max_concurrent: int = setting(8, "replies generated at the same time")
    max_queue: int = setting(32, "requests that may wait; more are refused with status 429")
    attention: str = setting(
        "auto",
        "how attention is computed; auto: exact on a CPU, else flash-attn where it is installed "
        "and fits, else torch's sdpa",
        ATTENTIONS,
    )
    log_level: str = setting("info", "how much to log", LOG_LEVELS)

    def __post_init__(self) -> None:
        """Check the values."""
        check_port(self.port)
        check_choice("--dtype", self.dtype, ("auto", *DTYPES))
        check_choice("--attention", self.attention, ATTENTIONS)
        check_choice("--log-level", self.log_level, LOG_LEVELS)
        if self.max_concurrent < 1 or self.max_queue < 0:
            raise ConfigError(
                f"--max-concurrent {self.max_concurrent} must be at least 1 and "
                f"--max-queue {self.max_queue} at least 0"
            )


@dataclass(frozen=True)
class DemoConfig:
    """Settings of the web demo; the original's flags and the address of the model server.

    Raises:
        ConfigError: If a value is not acceptable.
    """

    env_prefix: ClassVar[str] = "ANTIPHON_DEMO_"

    host: str = setting(SERVER_HOST, "address to listen on")
    port: int = setting(DEMO_PORT, "port to listen on")
    flow_path: str | None = setting(
        None, "folder or hub name of the speech decoder; none: the embedded one"
    )
    model_path: str | None = setting(
        None,
        "folder or hub name of the language model, of which only the text tokenizer is read; "
        "none: the embedded one",
    )
    tokenizer_path: str | None = setting(
        None, "folder or hub name of the speech tokenizer; none: the embedded one"
    )
    server_url: str = setting(f"http://{SERVER_HOST}:{SERVER_PORT}", "address of the model server")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    share: bool = setting(False, "ask Gradio for a public link")
    ssl_certfile: str | None = setting(None, "certificate (PEM) to serve https with")
    ssl_keyfile: str | None = setting(None, "private key (PEM) of the certificate")
    ssl_self_signed: bool = setting(
        False, "serve https with a certificate made here; browsers warn of it once"
    )
    conversations: str | None = setting(
        None,
        "folder that keeps conversations over a restart, each until two hours after its last use; "
        "'': they end with the program; none named: ~/.local/state/antiphon/conversations on "
        "localhost, nothing where other machines reach the page",
    )
    mcp: bool = setting(False, "offer the page's endpoints to agents, too (needs the package mcp)")
    log_level: str = setting("info", "how much to log", LOG_LEVELS)

    def __post_init__(self) -> None:
        """Check the values."""
        check_port(self.port)
        check_choice("--log-level", self.log_level, LOG_LEVELS)
        if not self.server_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"--server-url {self.server_url!r} must begin with http:// or https://"
            )
        self._check_certificate()

    def _check_certificate(self) -> None:
        """Refuse certificates that are named by halves, or twice."""
        if self.ssl_self_signed and (self.ssl_certfile or self.ssl_keyfile):
            raise ConfigError(
                "--ssl-self-signed makes a certificate of its own; leave it out or leave out "
                "--ssl-certfile and --ssl-keyfile"
            )
        if bool(self.ssl_certfile) != bool(self.ssl_keyfile):
            raise ConfigError("--ssl-certfile and --ssl-keyfile belong together; give both")
        if self.share and (self.ssl_certfile or self.ssl_self_signed):
            raise ConfigError(
                "--share gives an https link of its own and cannot pass on another certificate; "
                "leave out either --share or the --ssl flags"
            )


def add_flag(parser: argparse.ArgumentParser, option: "Field[object]", default: object) -> None:
    """Add the flag of one setting to the parser."""
    flag = "--" + option.name.replace("_", "-")
    text = f"{option.metadata['help']} (default: %(default)s)"
    if isinstance(option.default, bool):
        parser.add_argument(flag, action="store_true", default=default, help=text)
        return
    choices = option.metadata["choices"] or None
    parser.add_argument(flag, type=kind_of(option), choices=choices, default=default, help=text)


def kind_of(option: "Field[object]") -> type[int] | type[str]:
    """Give the type that a setting's text is turned into."""
    return int if isinstance(option.default, int) else str


def env_value(option: "Field[object]", prefix: str, env: Mapping[str, str]) -> object:
    """Read one setting from the environment, else its default.

    Raises:
        ConfigError: If the variable does not hold what the setting needs.
    """
    name = prefix + option.name.upper()
    text = env.get(name)
    if option.default is MISSING or text is None:
        return option.default
    if isinstance(option.default, bool):
        return text.lower() in {"1", "true", "yes", "on"}
    try:
        return kind_of(option)(text)
    except ValueError as error:
        raise ConfigError(f"{name}={text!r} must be a whole number") from error


def parse_config(
    kind: type[Config],
    description: str,
    argv: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Config:
    """Read the settings of a program from its command line and environment.

    Args:
        kind: `ServerConfig` or `DemoConfig`.
        description: First line of `--help`.
        argv: Arguments after the program's name; None reads the command line.
        env: Environment variables; None reads the process's.

    Raises:
        ConfigError: If a value is not acceptable. Unknown flags end the program (argparse).
    """
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    for option in fields(kind):
        value = env_value(option, kind.env_prefix, os.environ if env is None else env)
        add_flag(parser, option, value)
    return kind(**vars(parser.parse_args(argv)))
