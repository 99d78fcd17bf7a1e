"""The command `antiphon`: picks a subcommand and turns errors into one line and an exit code.

Everything heavy is imported by the subcommand that needs it, so that help is instant.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from antiphon import __version__
from antiphon.errors import AntiphonError

EXIT_OK, EXIT_ERROR, EXIT_INTERRUPTED = 0, 1, 130

Command = Callable[[Sequence[str]], int | None]


@dataclass(frozen=True)
class Subcommand:
    """Where a subcommand lives: `function(arguments)` in `module`."""

    help: str
    module: str
    function: str = "main"


SUBCOMMANDS = {
    "ask": Subcommand("ask clips or typed questions and hear the answers", "antiphon.cli_ask"),
    "chat": Subcommand("type to a running page and read or hear the answers", "antiphon.cli_chat"),
    "talk": Subcommand("talk to a running page by microphone or clips", "antiphon.cli_talk"),
    "transcribe": Subcommand("write down clips from their tokens", "antiphon.cli_transcribe"),
    "serve": Subcommand("run the model server", "antiphon.serving"),
    "demo": Subcommand("run the model server and the web page together", "antiphon.launcher"),
    "train": Subcommand("train a part of a small model", "antiphon.cli_train"),
    "bench": Subcommand("measure speed and memory beside a baseline", "antiphon.cli_bench"),
    "samples": Subcommand("let a model speak a sample of each skill", "antiphon.cli_samples"),
    "eval": Subcommand("measure a model on spoken questions", "antiphon.evaluation.suite"),
}


def build_parser() -> argparse.ArgumentParser:
    """Build the outer parser; each subcommand parses its own arguments."""
    width = max(map(len, SUBCOMMANDS))
    lines = [f"  {name:{width}}  {command.help}" for name, command in SUBCOMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="antiphon",
        description="Talk to a model that hears speech and answers in text and sound.",
        epilog="commands:\n" + "\n".join(lines) + "\n\n`antiphon COMMAND --help` says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"antiphon {__version__}")
    parser.add_argument("command", choices=SUBCOMMANDS, metavar="COMMAND")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def load_command(subcommand: Subcommand) -> Command:
    """Import the function of a subcommand."""
    command: Command = getattr(importlib.import_module(subcommand.module), subcommand.function)
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments after the program's name; None reads the command line.

    Returns:
        0 when all went well, 1 after an error of the user or the environment, 130 after Ctrl-C.
        Wrong usage ends the program with 2.
    """
    options = build_parser().parse_args(argv)
    try:
        return load_command(SUBCOMMANDS[options.command])(options.arguments) or EXIT_OK
    except AntiphonError as error:
        print(f"antiphon: {error}", file=sys.stderr)
        return EXIT_ERROR
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("antiphon: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
