"""The demo as two processes that can be killed and started again: model server and web page.

They are those of `antiphon demo`, with the embedded model. Knows no browser.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from antiphon.launcher import Child, build_parser, plan, wait_until_ready

PAGE, MODEL = "web page", "model server"


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


class RunningPage:
    """Both programs; leaving the context stops them.

    Attributes:
        url: Address of the page.
    """

    def __init__(self, folder: Path) -> None:
        ports = ["--port", str(free_port()), "--server-port", str(free_port())]
        services = plan(build_parser().parse_args(ports))
        state = f"XDG_STATE_HOME={folder}"  # not the user's own: rows that restart the page use it
        self.services = {
            each.name: replace(each, command=("env", state, *each.command)) for each in services
        }
        self.url = self.services[PAGE].url + "/"
        self.children: dict[str, Child] = {}
        self.folder = folder
        self.n_starts = 0

    def start(self, *names: str) -> float:
        """Start programs and wait until they answer; gives the time at which they did."""
        for name in names:
            self.n_starts += 1
            log = self.folder / f"{self.n_starts}-{name.replace(' ', '-')}.log"
            self.children[name] = Child(self.services[name], log)
        wait_until_ready([self.children[name] for name in names], threading.Event())
        return time.time()

    def kill(self, name: str) -> None:
        """End a program as a crash does: at once and without a word."""
        child = self.children[name]
        os.killpg(child.pid, signal.SIGKILL)
        child.stop()

    def stop(self) -> None:
        """End both."""
        for child in self.children.values():
            child.ask_to_stop()
        for child in self.children.values():
            child.stop()

    def memory_mb(self, name: str) -> float:
        """Say how much memory a program holds, in MB."""
        return resident_mb(self.children[name].pid)

    def logs(self) -> str:
        """Give the last lines of all logs, for errors."""
        paths = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{path.name}: {path.read_text('utf-8')[-600:]}" for path in paths)


def resident_mb(pid: int) -> float:
    """Say how much memory a process holds, in MB (10^6 bytes)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def running_page(folder: Path) -> Iterator[RunningPage]:
    """Run the demo while inside."""
    with ExitStack() as stack:
        page = RunningPage(folder)
        stack.callback(page.stop)
        page.start(MODEL, PAGE)
        yield page
