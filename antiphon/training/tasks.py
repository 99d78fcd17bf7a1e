"""The training tasks by name, and all of them in a row: a whole model in one folder.

Imports a task only when it runs, so that naming them costs nothing.
"""

import importlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from antiphon.errors import ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """Where a task lives: `function(settings)` in `antiphon.training.<module>`.

    Attributes:
        help: What it does.
        module: Module below this package.
        config: Class of its settings there.
        function: What runs it there.
        folders: Settings that are folders, by where they lie in the folder of a whole model.
    """

    help: str
    module: str
    config: str
    folders: Mapping[str, str]
    function: str = "train"

    def settings(self, name: str, recipe: str | None, assignments: Sequence[str]) -> object:
        """Build the settings from a recipe and `key=value` words.

        Raises:
            ConfigError: If the recipe or a setting is not acceptable.
        """
        from antiphon.training.task_config import load_task_config

        kind = getattr(importlib.import_module(f"antiphon.training.{self.module}"), self.config)
        prefix = self.module.removesuffix("_task")
        settings: object = load_task_config(kind, name, recipe, assignments, prefixes=(prefix,))
        return settings

    def run(self, settings: object) -> None:
        """Do it."""
        getattr(importlib.import_module(f"antiphon.training.{self.module}"), self.function)(
            settings
        )


# In the order they need each other.
TASKS = {
    "data": Task(
        "make the spoken corpus", "synthesis", "DataTaskConfig", {"out": "data"}, "synthesise"
    ),
    "tokenizer": Task(
        "train the speech tokenizer",
        "tokenizer_task",
        "TokenizerTaskConfig",
        {"data": "data", "run": "runs/tokenizer", "out": "model/tokenizer"},
    ),
    "codes": Task(
        "turn the corpus into speech tokens",
        "codes",
        "EncodeTaskConfig",
        {"data": "data", "tokenizer": "model/tokenizer"},
        "encode_corpus",
    ),
    "decoder": Task(
        "train the flow-matching decoder",
        "flow_task",
        "FlowTaskConfig",
        {"data": "data", "run": "runs/decoder", "out": "model/decoder"},
    ),
    "vocoder": Task(
        "train the vocoder",
        "vocoder_task",
        "VocoderTaskConfig",
        {"data": "data", "run": "runs/vocoder", "out": "model/decoder"},
    ),
    "lm": Task(
        "train the language model",
        "lm_task",
        "LmTaskConfig",
        {
            "data": "data",
            "tokenizer": "model/tokenizer",
            "run": "runs/lm",
            "out": "model/lm",
        },
    ),
}


def split_overrides(assignments: Sequence[str]) -> dict[str, list[str]]:
    """Sort `task.key=value` words by task.

    Raises:
        ConfigError: If a word names no task.
    """
    sorted_words: dict[str, list[str]] = {name: [] for name in TASKS}
    for assignment in assignments:
        name, dot, rest = assignment.partition(".")
        if not dot or name not in TASKS:
            raise ConfigError(
                f"--set {assignment!r} must name its task, such as lm.minutes=5; the tasks are "
                f"{', '.join(TASKS)}"
            )
        sorted_words[name].append(rest)
    return sorted_words


def whole_model_settings(
    recipe: str | None, root: Path, assignments: Sequence[str]
) -> dict[str, object]:
    """Build the settings of all tasks so that data, runs and model lie under `root`.

    Raises:
        ConfigError: If the recipe or a setting is not acceptable.
    """
    overrides = split_overrides(assignments)
    return {
        name: task.settings(
            name,
            recipe,
            [*(f"{key}={root / path}" for key, path in task.folders.items()), *overrides[name]],
        )
        for name, task in TASKS.items()
    }


def train_whole_model(settings: Mapping[str, object]) -> None:
    """Run all tasks; those that were done before are passed in moments."""
    for number, (name, task) in enumerate(TASKS.items(), start=1):
        logger.info("task %d of %d: %s (%s)", number, len(TASKS), name, task.help)
        task.run(settings[name])
