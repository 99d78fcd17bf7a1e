"""Options of a benchmark: a frozen dataclass whose fields are flags of the command line."""

import argparse
from dataclasses import field, fields
from typing import TypeVar

from antiphon.errors import ConfigError

Value = TypeVar("Value", int, float, tuple[int, ...], tuple[float, ...])
Options = TypeVar("Options")


def option(default: Value, text: str) -> Value:
    """Declare one option: a number above 0, or several, with its help text."""
    return field(default=default, metadata={"help": text})


def add_flags(parser: argparse.ArgumentParser, kind: type) -> None:
    """Add a flag for each field of a dataclass of options."""
    for each in fields(kind):
        values = each.default if isinstance(each.default, tuple) else (each.default,)
        parser.add_argument(
            "--" + each.name.replace("_", "-"),
            type=type(values[0]),
            nargs="+" if isinstance(each.default, tuple) else None,
            default=each.default,
            metavar="N",
            help=f"{each.metadata['help']} (default: {' '.join(map(str, values))})",
        )


def read_options(kind: type[Options], flags: argparse.Namespace) -> Options:
    """Take the options out of parsed flags.

    Raises:
        ConfigError: If a number is not above 0.
    """
    found = {}
    for each in fields(kind):  # type: ignore[arg-type]  # a dataclass
        value = getattr(flags, each.name)
        found[each.name] = tuple(value) if isinstance(value, list) else value
        for number in value if isinstance(value, list | tuple) else (value,):
            if not number > 0:
                raise ConfigError(
                    f"--{each.name.replace('_', '-')} {number} must be a number above 0"
                )
    return kind(**found)
