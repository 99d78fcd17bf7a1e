"""Runs the model server and the web page together: what `antiphon demo` and `make demo` start.

Both are child processes; when one dies, or on Ctrl-C, both are stopped. Knows nothing of models.
"""

import argparse
import http.client
import math
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from antiphon.errors import ConfigError, LaunchError
from antiphon.priority import let_others_go_first

HOST = "localhost"
SERVER_PORT = 10_000
PAGE_PORT = 8888
EVERYWHERE = ("0.0.0.0", "::")  # addresses to listen on that nobody can connect to
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POLL_S = 0.1
PROBE_TIMEOUT_S = 2.0
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 10.0
AHEAD_NICENESS = 5  # tokens come far ahead of what is heard; the sound next to be heard goes first
SPEECH_FLAGS = ("tokenizer_path", "flow_path")
WEIGHT_FLAGS = ("model_path", *SPEECH_FLAGS)  # may name weights that are downloaded first
SHARED_FLAGS = ("model_path", "device")
PAGE_FLAGS = ("ssl_certfile", "ssl_keyfile", "ssl_self_signed", "share", "mcp", "conversations")


@dataclass(frozen=True)
class Service:
    """A program to run and how to see that it is ready.

    Attributes:
        name: What users call it.
        command: Program and arguments.
        url: Address that answers with status 200 once the service is ready.
        niceness: How much it lets other programs go first, 0 to 19.
    """

    name: str
    command: tuple[str, ...]
    url: str
    niceness: int = 0


class Child:
    """A running service with its log; leaving the context stops it and all that it started."""

    def __init__(self, service: Service, log_path: Path | None) -> None:
        """Start the service.

        Args:
            service: What to run.
            log_path: File for its output; None leaves the output on the terminal.

        Raises:
            LaunchError: If the program cannot be started.
        """
        self.service = service
        self.log_path = log_path
        with ExitStack() as stack:
            log = stack.enter_context(log_path.open("wb")) if log_path else None
            try:
                self._process = subprocess.Popen(
                    service.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT if log else None,
                    start_new_session=True,  # Ctrl-C reaches us alone; we stop the children
                )
            except OSError as error:
                raise LaunchError(f"the {service.name} cannot be started: {error}") from error
        if service.niceness:
            let_others_go_first(self.pid, service.niceness)

    def __enter__(self) -> "Child":
        """Give the child itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop the service."""
        self.stop()

    @property
    def pid(self) -> int:
        """Process id; also the id of the service's process group."""
        return self._process.pid

    def check_alive(self) -> None:
        """Raise a LaunchError with the last line of the log if the service has ended."""
        status = self._process.poll()
        if status is None:
            return
        reason = last_line(self.log_path) if self.log_path else "see its messages above"
        raise LaunchError(f"the {self.service.name} stopped ({describe_exit(status)}): {reason}")

    def is_ready(self) -> bool:
        """Tell whether the service answers."""
        unchecked = ssl.create_default_context()  # our own child's certificate may be self-made
        unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
        direct = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unchecked)
        )
        try:
            with direct.open(self.service.url, timeout=PROBE_TIMEOUT_S) as answer:
                return bool(answer.status == 200)
        except (OSError, http.client.HTTPException):
            return False

    def ask_to_stop(self) -> None:
        """Ask the service and all that it started to end; does not wait."""
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """End the service and all that it started, by force after `STOP_TIMEOUT_S`."""
        self.ask_to_stop()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        self._signal(signal.SIGKILL)  # also what the service left behind
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # the whole group has ended
            os.killpg(self.pid, number)


def describe_exit(status: int) -> str:
    """Put the exit status of a process into words."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return f"status {status}"


def last_line(path: Path) -> str:
    """Give the last line of a log that says something."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def check_port_is_free(host: str, port: int, flag: str) -> None:
    """Refuse a port that another program listens on.

    Raises:
        ConfigError: If the port is in use, or the address is not one of this machine's.
    """
    if not 1 <= port <= 65_535:
        raise ConfigError(f"{flag} {port} is not a port; use 1 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {reason}; "
            f"stop the program that uses it or choose another port with {flag}"
        ) from error


def wait_until_ready(
    children: Sequence[Child], stop: threading.Event, timeout_s: float = START_TIMEOUT_S
) -> bool:
    """Wait until all children answer.

    Returns:
        False if `stop` was set before.

    Raises:
        LaunchError: If a child ends, or does not answer within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    waiting = list(children)
    while waiting:
        for child in children:
            child.check_alive()
        waiting = [child for child in waiting if not child.is_ready()]
        if stop.is_set():
            return False
        if waiting and time.monotonic() > deadline:
            names = " and the ".join(child.service.name for child in waiting)
            raise LaunchError(f"the {names} did not answer within {timeout_s:g} s")
        stop.wait(POLL_S)
    return True


def watch(children: Sequence[Child], stop: threading.Event) -> None:
    """Wait until `stop` is set.

    Raises:
        LaunchError: If a child ends before.
    """
    while not stop.wait(POLL_S):
        for child in children:
            child.check_alive()


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C, SIGTERM and the end of the terminal set while inside."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_services(
    services: Sequence[Service],
    *,
    welcome: str,
    is_verbose: bool = False,
    timeout_s: float = START_TIMEOUT_S,
) -> None:
    """Run services side by side until Ctrl-C; none is left running afterwards.

    Args:
        services: What to run, all at once.
        welcome: Said when all answer.
        is_verbose: Leave the services' output on the terminal.
        timeout_s: How long to wait for the answers.

    Raises:
        LaunchError: If a service cannot start, ends, or does not answer in time.
    """
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="antiphon-demo-")))
        children = []
        for number, service in enumerate(services):
            log_path = None if is_verbose else folder / f"{number}.log"
            children.append(stack.enter_context(Child(service, log_path)))
        for child in children:  # on leaving, all are asked before any is waited for
            stack.callback(child.ask_to_stop)
        if wait_until_ready(children, stop, timeout_s):
            say(welcome)
            watch(children, stop)
        say("Stopping.")


def say(line: str) -> None:
    """Write one line for the user."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `antiphon demo`."""
    parser = argparse.ArgumentParser(
        prog="antiphon demo",
        description="Run the model server and the web page together, until Ctrl-C.",
        allow_abbrev=False,
    )
    parser.add_argument("--host", default=HOST, help="address of the page (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=PAGE_PORT, help="port of the page (default: %(default)s)"
    )
    parser.add_argument(
        "--server-port",
        type=int,
        default=SERVER_PORT,
        help="port of the model server, which listens on this machine only (default: %(default)s)",
    )
    parser.add_argument("--model-path", help="folder or hub name of another language model")
    parser.add_argument("--tokenizer-path", help="folder or hub name of another speech tokenizer")
    parser.add_argument("--flow-path", help="folder or hub name of another speech decoder")
    parser.add_argument("--dtype", help="number format of the language model")
    parser.add_argument("--device", help="auto, cpu or an accelerator")
    add_page_flags(parser)
    parser.add_argument("--verbose", action="store_true", help="show what both programs log")
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help=f"how long loading may take (default: {START_TIMEOUT_S:g}, none for other weights)",
    )
    return parser


def add_page_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that only the page knows; it checks them."""
    parser.add_argument("--ssl-certfile", help="certificate (PEM) to serve the page over https")
    parser.add_argument("--ssl-keyfile", help="private key (PEM) of the certificate")
    parser.add_argument(
        "--ssl-self-signed",
        action="store_true",
        help="https with a certificate made here, so that other machines get a microphone",
    )
    parser.add_argument(
        "--conversations",
        metavar="FOLDER",
        help="keep conversations here over a restart; '' keeps none (default: "
        "~/.local/state/antiphon/conversations on localhost, none on other addresses)",
    )
    parser.add_argument("--share", action="store_true", help="ask Gradio for a public link")
    parser.add_argument("--mcp", action="store_true", help="offer the page to agents")


def flags_for(options: argparse.Namespace, names: Sequence[str]) -> tuple[str, ...]:
    """Write the options that were given as flags again."""
    given = [(name, getattr(options, name)) for name in names]
    return tuple(
        part
        for name, value in given
        if value is not None and value is not False
        for part in ("--" + name.replace("_", "-"), *([] if value is True else [value]))
    )


def plan(options: argparse.Namespace) -> list[Service]:
    """Say which programs to run for the options of the command line."""
    server_url = f"http://{HOST}:{options.server_port}"
    page_host = HOST if options.host in EVERYWHERE else options.host
    server = ["-m", "antiphon", "serve", "--host", HOST, "--port", str(options.server_port)]
    server += flags_for(options, (*SHARED_FLAGS, "dtype"))
    page = ["-m", "antiphon.web", "--host", options.host, "--port", str(options.port)]
    page += ["--server-url", server_url, *flags_for(options, (*SHARED_FLAGS, *SPEECH_FLAGS))]
    page += flags_for(options, PAGE_FLAGS)
    scheme = "https" if options.ssl_self_signed or options.ssl_certfile else "http"
    return [
        Service("model server", (sys.executable, *server), f"{server_url}/health", AHEAD_NICENESS),
        Service("web page", (sys.executable, *page), f"{scheme}://{page_host}:{options.port}"),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo from a command line; returns 0 after Ctrl-C.

    Raises:
        ConfigError: If a port is in use or none.
        LaunchError: If one of the programs fails.
    """
    options = build_parser().parse_args(argv)
    if options.port == options.server_port:
        raise ConfigError(f"--port and --server-port are both {options.port}; use two ports")
    check_port_is_free(HOST, options.server_port, "--server-port")
    check_port_is_free(options.host, options.port, "--port")
    if shutil.which("ffmpeg") is None:
        say("ffmpeg is not installed: replies play only when complete (apt-get install ffmpeg).")
    services = plan(options)
    say("Loading the models ...")
    has_other_weights = bool(flags_for(options, WEIGHT_FLAGS))
    run_services(
        services,
        welcome=f"Open {services[-1].url} in a browser. Ctrl-C stops.",
        is_verbose=options.verbose or has_other_weights,  # downloads show their progress
        timeout_s=options.timeout or (math.inf if has_other_weights else START_TIMEOUT_S),
    )
    return 0
