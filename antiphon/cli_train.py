"""The subcommand `antiphon train`: picks a task, or all, and fills in the settings."""

import argparse
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.logs import configure_logging
from antiphon.training.tasks import TASKS, train_whole_model, whole_model_settings

ALL = "all"


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `antiphon train`."""
    helps = {name: task.help for name, task in TASKS.items()}
    helps[ALL] = "all of them in a row, then the evaluation: a whole model under --root"
    width = max(map(len, helps))
    lines = [f"  {name:{width}}  {text}" for name, text in helps.items()]
    parser = argparse.ArgumentParser(
        prog="antiphon train",
        description="Train a part of a small model. A stopped run goes on where it was.",
        epilog="tasks, in the order they need each other:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("task", choices=helps, metavar="TASK")
    parser.add_argument("--config", metavar="NAME|FILE", help="a recipe: a TOML file or its name")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="settings that win over the recipe; with `all`, TASK.KEY=VALUE",
    )
    parser.add_argument(
        "--root", type=Path, help="with `all`: folder for data/, runs/ and the finished model/"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="with `all`: tasks that may run at once (default: 1)"
    )
    parser.add_argument("--no-eval", action="store_true", help="with `all`: leave out the end")
    parser.add_argument("--show", action="store_true", help="print the settings and do nothing")
    return parser


def show(settings: object, prefix: str = "") -> None:
    """Print settings, one a line."""
    assert is_dataclass(settings)
    for option in fields(settings):
        print(f"{prefix}{option.name} = {getattr(settings, option.name)!r}")


def train_all(options: argparse.Namespace) -> int:
    """Train a whole model and measure it.

    Raises:
        ConfigError: If there is no --root or a setting is not acceptable.
    """
    if options.root is None:
        raise ConfigError("`antiphon train all` needs --root FOLDER for what it makes")
    settings = whole_model_settings(options.config, options.root, options.set)
    if options.show:
        for name, values in settings.items():
            show(values, f"{name}.")
        return 0
    configure_logging()
    train_whole_model(settings, options.jobs)
    if options.no_eval:
        return 0
    from antiphon.evaluation.suite import main as evaluate

    report = options.root / "evaluation.json"
    return evaluate([str(options.root / "model"), "--out", str(report)])


def main(argv: Sequence[str]) -> int:
    """Run one training task, or all.

    Raises:
        ConfigError: If a setting is not acceptable.
    """
    options = build_parser().parse_args(argv)
    if options.task == ALL:
        return train_all(options)
    task = TASKS[options.task]
    settings = task.settings(options.task, options.config, options.set)
    if options.show:
        show(settings)
        return 0
    configure_logging()
    task.run(settings)
    return 0
