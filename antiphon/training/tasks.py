"""The training tasks by name, and all of them: a whole model in one folder.

Imports a task only when it runs, so that naming them costs nothing.
"""

import importlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from antiphon.errors import ConfigError, TrainingError
from antiphon.logs import configure_logging

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
        needs: Names of the tasks that have to be done before.
    """

    help: str
    module: str
    config: str
    folders: Mapping[str, str]
    needs: tuple[str, ...] = ()
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
        "make the spoken corpus",
        "synthesis",
        "DataTaskConfig",
        {"out": "data"},
        function="synthesise",
    ),
    "tokenizer": Task(
        "train the speech tokenizer",
        "tokenizer_task",
        "TokenizerTaskConfig",
        {"data": "data", "run": "runs/tokenizer", "out": "model/tokenizer"},
        ("data",),
    ),
    "codes": Task(
        "turn the corpus into speech tokens",
        "codes",
        "EncodeTaskConfig",
        {"data": "data", "tokenizer": "model/tokenizer"},
        ("data", "tokenizer"),
        "encode_corpus",
    ),
    "decoder": Task(
        "train the flow-matching decoder",
        "flow_task",
        "FlowTaskConfig",
        {"data": "data", "run": "runs/decoder", "out": "model/decoder"},
        ("codes",),
    ),
    "vocoder": Task(
        "train the vocoder",
        "vocoder_task",
        "VocoderTaskConfig",
        {"data": "data", "run": "runs/vocoder", "out": "model/decoder"},
        ("data",),
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
        ("codes",),
    ),
    "letters": Task(
        "write the letter model that the reading half reads with",
        "letters_task",
        "LettersTaskConfig",
        {"out": "model/tokenizer"},
        ("tokenizer",),
        "write",
    ),
    "recogniser": Task(
        "train the tokenizer's reading half on, its codes being final",
        "recogniser_task",
        "RecogniserTaskConfig",
        {"data": "data", "run": "runs/recogniser", "out": "model/tokenizer"},
        ("codes",),
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


def train_whole_model(settings: Mapping[str, object], n_jobs: int = 1) -> None:
    """Run all tasks; those that were done before are passed in moments.

    Args:
        settings: Of each task.
        n_jobs: Tasks that may run at once, each in a process of its own; 1 runs them here, in turn.

    Raises:
        TrainingError: If a process of its own fails; its log says why.
    """
    if n_jobs > 1:
        train_at_once(settings, n_jobs)
        return
    for number, (name, task) in enumerate(TASKS.items(), start=1):
        logger.info("task %d of %d: %s (%s)", number, len(TASKS), name, task.help)
        task.run(settings[name])


def train_at_once(settings: Mapping[str, object], n_jobs: int) -> None:
    """Run each task in a process as soon as those it needs are done; a failure stops the rest.

    Raises:
        TrainingError: If one fails.
    """
    context = get_context("spawn")
    done: set[str] = set()
    running: dict[str, SpawnProcess] = {}
    try:
        while len(done) < len(TASKS):
            for name in ready(done, running)[: n_jobs - len(running)]:
                logger.info("starting %s (%s)", name, TASKS[name].help)
                running[name] = context.Process(target=run_task, args=(name, settings[name]))
                running[name].start()
            wait([process.sentinel for process in running.values()])
            for name in [name for name, process in running.items() if not process.is_alive()]:
                process = running.pop(name)
                process.join()
                if process.exitcode:
                    raise TrainingError(f"task {name} failed with exit code {process.exitcode}")
                done.add(name)
    finally:
        for process in running.values():
            process.terminate()
            process.join()


def ready(done: set[str], running: Mapping[str, SpawnProcess]) -> list[str]:
    """List the tasks that could start now, in order."""
    return [
        name
        for name, task in TASKS.items()
        if name not in done and name not in running and done.issuperset(task.needs)
    ]


def run_task(name: str, settings: object) -> None:
    """Run one task in a process of its own."""
    configure_logging()
    TASKS[name].run(settings)
