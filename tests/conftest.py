"""Fixtures shared by all tests."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

PARITY_KIT = "needs the parity kit"
NO_CUDA = "needs a CUDA device and a torch that finds it"
REPOSITORY = Path(__file__).resolve().parents[1]
MAX_THREADS = 2


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that has to be complete (ANTIPHON_NO_SKIPS) when a test was skipped.

    The reference numbers alone may be missing, which do not come with the repository, and a CUDA
    device, which cannot be installed.
    """
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if "ANTIPHON_NO_SKIPS" not in os.environ or reporter is None:
        return
    skipped = [report.longreprtext for report in reporter.stats.get("skipped", [])]
    if any(PARITY_KIT not in reason and NO_CUDA not in reason for reason in skipped):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def keep_logging() -> Iterator[None]:
    """Undo what a command told logging: its stream is gone when its test is over."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The folder that holds pyproject.toml."""
    return REPOSITORY


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """Folder of the reference numbers; tests that need it are skipped where it is not."""
    named = os.environ.get("ANTIPHON_PARITY")
    folder = Path(named or REPOSITORY.parent / "shared" / "parity")
    if folder.is_dir():
        return folder
    if named:
        pytest.fail(f"ANTIPHON_PARITY names {folder}, which is no folder")
    pytest.skip(f"{PARITY_KIT}: no folder {folder} (set ANTIPHON_PARITY)")


@pytest.fixture(scope="session")
def tiny_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with random tokenizer/, lm/ and decoder/ that fit together."""
    from tests.tiny_checkpoints import write_tiny_checkpoints

    return write_tiny_checkpoints(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session", autouse=True)
def few_threads() -> None:
    """Keep torch from starting a thread for each core: the models here are tiny."""
    import torch

    torch.set_num_threads(min(MAX_THREADS, torch.get_num_threads()))


@pytest.fixture(scope="session", autouse=True)
def interrupts_arrive() -> None:
    """Let programs that tests start hear Ctrl-C, also where the tests run in the background.

    A shell has background programs ignore it, and what they start inherits that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def state_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let pages that tests start keep conversations here, not in the user's own folder."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("home") / ".local" / "state")


@pytest.fixture(scope="session", autouse=True)
def no_telemetry() -> None:
    """Let no library report its use: the tests run without a network."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
