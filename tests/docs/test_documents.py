"""What the documents tell people to type exists: links, targets, commands, flags, variables."""

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from antiphon import cli, cli_ask, cli_bench, cli_chat, cli_talk, cli_train, launcher
from antiphon.config import DemoConfig, ServerConfig, parse_config
from antiphon.evaluation import suite

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]

PARSERS: dict[str, Callable[[list[str]], object]] = {
    "ask": lambda arguments: cli_ask.build_parser().parse_args(arguments),
    "bench": lambda arguments: cli_bench.build_flags(arguments[0]).parse_args(arguments[1:]),
    "chat": lambda arguments: cli_chat.build_parser().parse_args(arguments),
    "demo": lambda arguments: launcher.build_parser().parse_args(arguments),
    "eval": lambda arguments: suite.build_parser().parse_args(arguments),
    "serve": lambda arguments: parse_config(ServerConfig, "", arguments, {}),
    "talk": lambda arguments: cli_talk.build_parser().parse_args(arguments),
    "train": lambda arguments: cli_train.build_parser().parse_args(arguments),
}
PROGRAMS: dict[str, Callable[[list[str]], object]] = {
    "model_server.py": PARSERS["serve"],
    "web_demo.py": lambda arguments: parse_config(DemoConfig, "", arguments, {}),
}


def shell_lines(text: str) -> Iterator[list[str]]:
    """Yield the commands of all shell blocks, split into words; comments are dropped."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"\s*(antiphon|make|python) ", line):
                yield shlex.split(line.replace("&&", "#"), comments=True)


def commands() -> list[list[str]]:
    return [words for path in DOCUMENTS for words in shell_lines(path.read_text("utf-8"))]


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    targets = re.findall(r"\]\(([^)#\s]+)", path.read_text("utf-8"))
    local = [target for target in targets if "://" not in target]
    missing = [target for target in local if not (path.parent / target).exists()]
    assert not missing


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    used = {words[1] for words in commands() if words[0] == "make"}
    assert {"demo", "test", "setup-dev"} <= used
    assert used <= targets


def test_commands_are_accepted() -> None:
    used = set()
    for words in commands():
        if words[0] != "antiphon" or "--help" in words:
            continue
        used.add(words[1])
        assert words[1] in cli.SUBCOMMANDS, words
        if words[1] in PARSERS and "TASK" not in words:
            PARSERS[words[1]](words[2:])
    assert set(PARSERS) <= used


def test_programs_are_accepted() -> None:
    used = [words for words in commands() if words[0] == "python" and words[1] in PROGRAMS]
    assert {words[1] for words in used} == set(PROGRAMS)
    for words in used:
        PROGRAMS[words[1]](words[2:])


@pytest.mark.parametrize("name", [*NAMES, "compose.yaml", "Dockerfile"])
def test_settings_in_the_environment_exist(name: str) -> None:
    known = {
        kind.env_prefix + field.name.upper()
        for kind in (ServerConfig, DemoConfig)
        for field in fields(kind)
    }
    text = (ROOT / name).read_text("utf-8")
    used = set(re.findall(r"\bANTIPHON_(?:SERVER|DEMO)_[A-Z_]+", text))
    assert used <= known


def test_unknown_flags_would_be_found() -> None:
    with pytest.raises(SystemExit):
        PARSERS["demo"](["--prot", "80"])
