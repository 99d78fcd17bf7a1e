"""The subcommand `antiphon train`: picks a task and fills in its settings."""

import argparse
import importlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

from antiphon.logs import configure_logging


@dataclass(frozen=True)
class Task:
    """Where a task lives: `function(settings)` in `antiphon.training.<module>`."""

    help: str
    module: str
    config: str
    function: str = "train"


TASKS = {
    "data": Task("make the spoken corpus", "synthesis", "DataTaskConfig", "synthesise"),
    "tokenizer": Task("train the speech tokenizer", "tokenizer_task", "TokenizerTaskConfig"),
    "codes": Task(
        "turn the corpus into speech tokens", "codes", "EncodeTaskConfig", "encode_corpus"
    ),
    "decoder": Task("train the flow-matching decoder", "flow_task", "FlowTaskConfig"),
    "vocoder": Task("train the vocoder", "vocoder_task", "VocoderTaskConfig"),
    "lm": Task("train the language model", "lm_task", "LmTaskConfig"),
}


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `antiphon train`."""
    width = max(map(len, TASKS))
    lines = [f"  {name:{width}}  {task.help}" for name, task in TASKS.items()]
    parser = argparse.ArgumentParser(
        prog="antiphon train",
        description="Train a part of a small model. A stopped run goes on where it was.",
        epilog="tasks, in the order they need each other:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("task", choices=TASKS, metavar="TASK")
    parser.add_argument("--config", metavar="NAME|FILE", help="a recipe: a TOML file or its name")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="settings that win over the recipe",
    )
    parser.add_argument(
        "--show", action="store_true", help="print the settings of the task and do nothing"
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Run one training task.

    Raises:
        ConfigError: If a setting is not acceptable.
    """
    from antiphon.training.task_config import load_task_config

    options = build_parser().parse_args(argv)
    task = TASKS[options.task]
    module = importlib.import_module(f"antiphon.training.{task.module}")
    config = load_task_config(
        getattr(module, task.config),
        options.task,
        options.config,
        options.set,
        prefixes=(task.module.removesuffix("_task"),),
    )
    if options.show:
        for option in fields(config):
            print(f"{option.name} = {getattr(config, option.name)!r}")
        return 0
    configure_logging()
    getattr(module, task.function)(config)
    return 0
