"""The launcher with fake children: both up, one dead, a port in use. Nothing is left running."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from antiphon import launcher
from antiphon.demo.certificate import self_signed
from antiphon.errors import ConfigError, LaunchError
from antiphon.launcher import (
    Child,
    Service,
    build_parser,
    plan,
    run_services,
    wait_until_ready,
)

# A server that answers 200 to everything; its first argument is the port.
ANSWERS = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
print("listening", flush=True)
http.server.HTTPServer(("localhost", int(sys.argv[1])), Handler).serve_forever()
"""
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + ANSWERS
WITH_GRANDCHILD = (
    "import subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "open(sys.argv[2], 'w').write(str(child.pid))\n" + ANSWERS
)
DIES = "import sys\nprint('loading')\nsys.exit('error: the weights are missing')"
SILENT = "import time\ntime.sleep(60)"
WAIT_S = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def fake(name: str, program: str, *arguments: str) -> Service:
    port = free_port()
    command = (sys.executable, "-S", "-c", program, str(port), *arguments)
    return Service(name, command, f"http://localhost:{port}/health")


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that ended and waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@contextmanager
def signal_when(condition: threading.Event, number: signal.Signals) -> Iterator[None]:
    """Send this process a signal once `condition` is set."""

    def send() -> None:
        if condition.wait(WAIT_S):
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        condition.set()
        thread.join()


@pytest.fixture
def pids(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Process ids of all children; none may run at the end of the test."""
    started: list[int] = []
    enter = Child.__enter__

    def note(child: Child) -> Child:
        started.append(child.pid)
        return enter(child)

    monkeypatch.setattr(Child, "__enter__", note)
    yield started
    assert not [pid for pid in started if is_running(pid)]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(launcher, "say", lines.append)
    return lines


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_both(
    number: signal.Signals, pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    services = [fake("model server", ANSWERS), fake("web page", ANSWERS)]
    both_answer = threading.Event()
    lines = []

    def say(line: str) -> None:
        lines.append(line)
        if line == "welcome":
            for service in services:
                with urllib.request.urlopen(service.url, timeout=5) as answer:
                    assert answer.status == 200
            both_answer.set()

    monkeypatch.setattr(launcher, "say", say)
    before = signal.getsignal(number)
    with signal_when(both_answer, number):
        run_services(services, welcome="welcome", timeout_s=WAIT_S)
    assert lines == ["welcome", "Stopping."]
    assert len(pids) == 2
    assert signal.getsignal(number) is before


def test_a_signal_while_loading_stops_both(pids: list[int], said: list[str]) -> None:
    services = [fake("model server", SILENT), fake("web page", ANSWERS)]
    loading = threading.Event()
    threading.Timer(0.5, loading.set).start()
    with signal_when(loading, signal.SIGINT):
        run_services(services, welcome="welcome", timeout_s=WAIT_S)
    assert said == ["Stopping."]
    assert len(pids) == 2


def test_a_child_that_dies_while_loading(pids: list[int], said: list[str]) -> None:
    services = [fake("model server", DIES), fake("web page", ANSWERS)]
    with pytest.raises(
        LaunchError,
        match=r"^the model server stopped \(status 1\): error: the weights are missing$",
    ):
        run_services(services, welcome="welcome", timeout_s=WAIT_S)
    assert said == []


def test_a_child_that_dies_later(pids: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    services = [fake("model server", ANSWERS), fake("web page", ANSWERS)]
    monkeypatch.setattr(launcher, "say", lambda line: os.kill(pids[1], signal.SIGKILL))
    with pytest.raises(
        LaunchError, match=r"^the web page stopped \(ended by SIGKILL\): listening$"
    ):
        run_services(services, welcome="welcome", timeout_s=WAIT_S)


def test_a_child_that_never_answers(pids: list[int], said: list[str]) -> None:
    with pytest.raises(LaunchError, match=r"^the web page did not answer within 0\.5 s$"):
        run_services([fake("web page", SILENT)], welcome="welcome", timeout_s=0.5)
    assert said == []


def test_a_program_that_is_not_there(pids: list[int], said: list[str]) -> None:
    missing = Service("web page", ("/nowhere/program",), "http://localhost:1")
    with pytest.raises(LaunchError, match="the web page cannot be started"):
        run_services([fake("model server", ANSWERS), missing], welcome="welcome")
    assert len(pids) == 1


def test_a_child_that_ignores_sigterm_is_killed(
    pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "STOP_TIMEOUT_S", 0.3)
    ready = threading.Event()
    monkeypatch.setattr(launcher, "say", lambda line: ready.set())
    with signal_when(ready, signal.SIGTERM):
        run_services([fake("model server", STUBBORN)], welcome="welcome", timeout_s=WAIT_S)
    assert len(pids) == 1


def test_what_a_child_started_ends_too(
    pids: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ready = threading.Event()
    monkeypatch.setattr(launcher, "say", lambda line: ready.set())
    note = tmp_path / "pid"
    with signal_when(ready, signal.SIGINT):
        run_services([fake("web page", WITH_GRANDCHILD, str(note))], welcome="welcome")
    grandchild = int(note.read_text())
    deadline = time.monotonic() + 5
    while is_running(grandchild) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(grandchild)


@pytest.mark.parametrize("flag", ["--port", "--server-port"])
def test_a_port_in_use_is_named(flag: str, pids: list[int]) -> None:
    other = "--server-port" if flag == "--port" else "--port"
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port}: .*another port with {flag}$"):
            launcher.main([flag, str(port), other, str(free_port())])
    assert pids == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "--port 70000 is not a port"),
        (["--server-port", "0"], "--server-port 0 is not a port"),
        (["--port", "10000"], "use two ports"),
        (["--host", "256.0.0.1", "--server-port", "@"], "cannot listen on 256.0.0.1"),
    ],
)
def test_wrong_addresses_are_refused(
    arguments: list[str], message: str, pids: list[int], said: list[str]
) -> None:
    with pytest.raises(ConfigError, match=message):
        launcher.main([str(free_port()) if part == "@" else part for part in arguments])
    assert pids == []


@pytest.mark.parametrize(
    ("arguments", "timeout_s", "is_verbose"),
    [
        ([], launcher.START_TIMEOUT_S, False),
        (["--timeout", "7", "--verbose"], 7.0, True),
        (["--model-path", "some/model"], float("inf"), True),
    ],
)
def test_other_weights_may_take_their_time(
    arguments: list[str],
    timeout_s: float,
    is_verbose: bool,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    monkeypatch.setattr(launcher, "run_services", lambda *_, **options: calls.append(options))
    ports = ["--port", str(free_port()), "--server-port", str(free_port())]
    assert launcher.main([*ports, *arguments]) == 0
    assert [call["timeout_s"] for call in calls] == [timeout_s]
    assert [call["is_verbose"] for call in calls] == [is_verbose]


def test_unknown_flags_are_refused() -> None:
    with pytest.raises(SystemExit, match="2"):
        launcher.main(["--prot", "80"])


def test_the_plan_hands_the_flags_on() -> None:
    arguments = ["--host", "0.0.0.0", "--port", "81", "--server-port", "82", "--device", "cpu"]
    arguments += ["--model-path", "lm", "--tokenizer-path", "tok", "--flow-path", "dec"]
    server, page = plan(build_parser().parse_args([*arguments, "--dtype", "int8"]))
    assert server.url == "http://localhost:82/health"
    assert page.url == "http://localhost:81"
    assert " ".join(server.command[1:]) == (
        "-m antiphon serve --host localhost --port 82 --model-path lm --device cpu --dtype int8"
    )
    assert " ".join(page.command[1:]) == (
        "-m antiphon.web --host 0.0.0.0 --port 81 --server-url http://localhost:82 "
        "--model-path lm --device cpu --tokenizer-path tok --flow-path dec"
    )


def test_flags_of_the_page_reach_the_page_alone() -> None:
    given = ["--ssl-self-signed", "--mcp", "--conversations", "kept"]
    server, page = plan(build_parser().parse_args(given))
    assert page.command[-4:] == tuple(given)
    assert not set(given) & set(server.command)
    assert (server.url[:7], page.url) == ("http://", "https://localhost:8888")
    _, page = plan(build_parser().parse_args(["--ssl-certfile", "c", "--ssl-keyfile", "k"]))
    assert page.command[-4:] == ("--ssl-certfile", "c", "--ssl-keyfile", "k")
    assert page.url.startswith("https://")
    _, page = plan(build_parser().parse_args(["--conversations", ""]))
    assert page.command[-2:] == ("--conversations", "")


def test_a_page_with_a_certificate_of_its_own_is_seen_to_be_ready(tmp_path: Path) -> None:
    made = self_signed("localhost", tmp_path)
    script = ANSWERS.replace("import http.server, sys", "import http.server, ssl, sys").replace(
        'http.server.HTTPServer(("localhost", int(sys.argv[1])), Handler).serve_forever()',
        'server = http.server.HTTPServer(("localhost", int(sys.argv[1])), Handler)\n'
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        "context.load_cert_chain(sys.argv[2], sys.argv[3])\n"
        "server.socket = context.wrap_socket(server.socket, server_side=True)\n"
        "server.serve_forever()",
    )
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    files = (str(made.certificate), str(made.key))
    command = (sys.executable, "-c", script, str(port), *files)
    service = Service("web page", command, f"https://localhost:{port}")
    with Child(service, tmp_path / "log") as child:
        assert wait_until_ready([child], threading.Event(), 30)


@pytest.mark.parametrize("module", ["serve", "antiphon.web"])
def test_the_programs_know_the_flags(module: str, repo_root: Path) -> None:
    """The planned command lines are ones the two programs accept."""
    options = build_parser().parse_args(
        ["--model-path", "m", "--tokenizer-path", "t", "--flow-path", "f", "--device", "cpu"]
    )
    service = next(each for each in plan(options) if module in each.command)
    search_path = os.pathsep.join([str(repo_root), str(repo_root / "third_party/Matcha-TTS")])
    done = subprocess.run(
        [*service.command, "--help"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": search_path},
    )
    assert done.returncode == 0, done.stderr
    assert "--port" in done.stdout


@pytest.mark.parametrize("niceness", [0, 7])
def test_a_service_lets_others_go_first(niceness: int, tmp_path: Path) -> None:
    """Itself, what it starts, and, where the system groups them, its session among the others."""
    report = (
        "import os, subprocess, sys, time\n"
        "time.sleep(0.3)\n"
        "path = '/proc/self/autogroup'\n"
        "group = open(path).read().split()[-1] if os.path.exists(path) else '-'\n"
        "ask = 'import os; print(os.nice(0))'\n"
        "inner = subprocess.check_output([sys.executable, '-c', ask], text=True).strip()\n"
        "print(os.nice(0), inner, group, flush=True)\n"
        "time.sleep(60)\n"
    )
    service = Service("it", (sys.executable, "-c", report), "http://localhost:1", niceness)
    log, own = tmp_path / "log", os.nice(0)
    with Child(service, log):
        deadline = time.monotonic() + 20
        while not log.read_text().strip() and time.monotonic() < deadline:
            time.sleep(0.05)
    expected = niceness or own
    *found, group = log.read_text().split()
    assert found == [str(expected), str(expected)]
    assert group in (str(niceness), "-")


def test_tokens_come_after_sound() -> None:
    server, page = plan(build_parser().parse_args([]))
    assert server.niceness > page.niceness == 0
