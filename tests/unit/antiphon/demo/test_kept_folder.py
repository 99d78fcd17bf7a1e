"""Conversations are kept by default where the page is this machine's own, and nowhere else."""

from pathlib import Path

import pytest

from antiphon.config import DemoConfig
from antiphon.demo.kept_folder import find_kept_folder, is_loopback


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


def test_on_localhost_the_own_folder_is_the_default(tmp_path: Path, env: dict[str, str]) -> None:
    folder = find_kept_folder(DemoConfig(), env)
    assert folder == tmp_path / "state" / "antiphon" / "conversations"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_could_read_is_closed(tmp_path: Path, env: dict[str, str]) -> None:
    folder = tmp_path / "state" / "antiphon" / "conversations"
    folder.mkdir(parents=True, mode=0o755)
    assert find_kept_folder(DemoConfig(), env) == folder
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("named", ["", "relative/state"])
def test_without_a_variable_it_is_below_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = find_kept_folder(DemoConfig(), {"XDG_STATE_HOME": named})
    assert folder == tmp_path / ".local/state/antiphon/conversations"


@pytest.mark.parametrize(
    "config",
    [
        DemoConfig(host="0.0.0.0"),
        DemoConfig(host="192.168.1.5"),
        DemoConfig(host="example.org"),
        DemoConfig(share=True),
        DemoConfig(conversations=""),
    ],
)
def test_what_others_say_is_not_kept_by_itself(
    tmp_path: Path, env: dict[str, str], config: DemoConfig
) -> None:
    assert find_kept_folder(config, env) is None
    assert not (tmp_path / "state").exists()


def test_a_named_folder_counts_on_every_address(tmp_path: Path, env: dict[str, str]) -> None:
    config = DemoConfig(host="0.0.0.0", share=True, conversations=str(tmp_path / "named"))
    assert find_kept_folder(config, env) == tmp_path / "named"


def test_a_state_folder_that_cannot_be_made_is_done_without(
    tmp_path: Path, env: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file")
    assert find_kept_folder(DemoConfig(), env) is None
    assert "conversations end with this program" in caplog.text


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *(("localhost", True), ("127.0.0.1", True), ("127.1.2.3", True), ("::1", True)),
        *(("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("my-machine", False)),
    ],
)
def test_which_addresses_are_this_machines_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
