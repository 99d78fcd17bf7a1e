"""What the page needs of the machine: a port, a temporary folder, packages. Imports no Gradio."""

import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from antiphon.errors import ConfigError

AGENTS_PACKAGE = "mcp"
OLDEST_MINOR = 21  # of version 1, the range that Gradio's own extra names
AGENTS_NEED = f"{AGENTS_PACKAGE}>=1.{OLDEST_MINOR},<2"


@contextmanager
def temporary_cache() -> Iterator[Path]:
    """Let Gradio keep its files in a folder of our own, which is deleted on leaving."""
    settings = {"GRADIO_ANALYTICS_ENABLED": "False"}
    with tempfile.TemporaryDirectory(prefix="antiphon-page-") as folder:
        settings["GRADIO_TEMP_DIR"] = folder
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        try:
            yield Path(folder)
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def check_address(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on.

    Raises:
        ConfigError: If the port is taken or the host is not one of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; "
            "stop the program that uses it or choose another with --host and --port"
        ) from error


def check_agents_package() -> None:
    """Refuse to offer the page to agents without what Gradio needs for it; it would say nothing.

    Raises:
        ConfigError: If the package is missing or of a version that Gradio cannot use.
    """
    try:
        found = metadata.version(AGENTS_PACKAGE)
    except metadata.PackageNotFoundError:
        raise agents_refusal("it is not installed") from None
    known = re.match(r"1\.(\d+)", found)
    if known is None or int(known[1]) < OLDEST_MINOR:
        raise agents_refusal(f"{found} is installed")


def agents_refusal(reason: str) -> ConfigError:
    """Say in words why agents cannot be served, and what to do."""
    return ConfigError(
        f"--mcp needs the package {AGENTS_PACKAGE} ({reason}): "
        f'pip install "{AGENTS_NEED}", or leave out --mcp'
    )
