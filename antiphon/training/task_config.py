"""Settings of a training task: defaults, then a recipe (TOML), then `key=value` overrides.

A recipe file holds the settings of one task, or one table a task ([tokenizer], [lm], ...). Unknown
keys are refused and the valid ones listed. Knows no task in particular.
"""

import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from antiphon.errors import ConfigError

RECIPE_FOLDER = Path(__file__).parent / "configs"
BOOLEANS = {"true": True, "yes": True, "on": True, "1": True} | {
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
Config = TypeVar("Config")


def recipe_names() -> list[str]:
    """List the recipes that ship with the package."""
    return sorted(path.stem for path in RECIPE_FOLDER.glob("*.toml"))


def find_recipe(name: str, prefixes: Sequence[str]) -> Path:
    """Find a recipe by the path of a file, or in the package by name, alone or after a prefix.

    Raises:
        ConfigError: If there is none.
    """
    stems = (*(f"{prefix}-{name}" for prefix in prefixes), name)
    for path in (Path(name), *(RECIPE_FOLDER / f"{stem}.toml" for stem in stems)):
        if path.is_file():
            return path
    raise ConfigError(
        f"no recipe {name!r}: give a TOML file or one of {', '.join(recipe_names()) or 'none'}"
    )


def read_recipe(path: Path, task: str) -> dict[str, object]:
    """Read the settings of one task: its table, or the whole file if it has no tables.

    Raises:
        ConfigError: If the file is no TOML, or mixes tables and settings outside of them.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read recipe {path}: {error}") from error
    loose = [key for key, value in content.items() if not isinstance(value, dict)]
    if loose and len(loose) < len(content):
        raise ConfigError(f"{path}: {', '.join(loose)} must stand in a table such as [{task}]")
    return content if loose else dict(content.get(task, {}))


def parse_overrides(assignments: Sequence[str]) -> dict[str, str]:
    """Split `key=value` words.

    Raises:
        ConfigError: If one is not of that form.
    """
    overrides = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {assignment!r} must look like key=value")
        overrides[key.strip().replace("-", "_")] = value.strip()
    return overrides


def type_name(kind: object) -> str:
    """Name a type as a person would."""
    return kind.__name__ if isinstance(kind, type) else str(kind)


def parse_text(text: str, kind: object) -> object:
    """Turn the text of an override into the Python value that its type suggests.

    Raises:
        ValueError: If the text does not fit.
    """
    if kind is bool:
        if text.lower() not in BOOLEANS:
            raise ValueError(text)
        return BOOLEANS[text.lower()]
    if kind in (int, float):
        number = re.sub(r"(?<=\d)_(?=\d)", "", text)
        return int(number) if kind is int else float(number)
    if typing.get_origin(kind) is tuple:
        words = [word for word in re.split(r"[,\s]+", text.strip("()[] ")) if word]
        return [parse_text(word, typing.get_args(kind)[0]) for word in words]
    return text


def is_optional(kind: object) -> bool:
    """Tell whether a type allows None."""
    return isinstance(kind, types.UnionType) and type(None) in typing.get_args(kind)


def convert(value: object, kind: object) -> object:
    """Bring a value from TOML or an override to the type of its field.

    Raises:
        ValueError: If it does not fit.
        TypeError: If it does not fit.
    """
    if is_optional(kind):
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        (kind,) = (option for option in typing.get_args(kind) if option is not type(None))
    if isinstance(value, str):
        value = parse_text(value, kind)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, Sequence):
            raise TypeError(value)
        return tuple(convert(item, typing.get_args(kind)[0]) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if isinstance(kind, type) and type(value) is not kind:
        raise TypeError(value)
    return value


def build_config(kind: type[Config], values: Mapping[str, object], where: str) -> Config:
    """Fill a frozen dataclass of settings.

    Raises:
        ConfigError: If a key is unknown or a value is of another type; valid keys are listed.
    """
    hints = typing.get_type_hints(kind)
    known = [option.name for option in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(
            f"{where}: unknown setting {', '.join(unknown)}; valid ones are {', '.join(known)}"
        )
    converted = {}
    for name, value in values.items():
        try:
            converted[name] = convert(value, hints[name])
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{where}: {name} must be {type_name(hints[name])}, got {value!r}"
            ) from error
    return kind(**converted)


def load_task_config(
    kind: type[Config],
    task: str,
    recipe: str | None,
    assignments: Sequence[str],
    prefixes: Sequence[str] = (),
) -> Config:
    """Build the settings of one task.

    Args:
        kind: The frozen dataclass of its settings.
        task: Its table in the recipe.
        recipe: A file or the name of a recipe in the package; None for the defaults.
        assignments: `key=value` words, which win over the recipe.
        prefixes: What the names of its recipes in the package may begin with, besides `task`.

    Raises:
        ConfigError: If the recipe or a setting is not acceptable.
    """
    values: dict[str, object] = {}
    if recipe is not None:
        path = find_recipe(recipe, (task, *prefixes))
        values |= read_recipe(path, task)
        build_config(kind, values, f"{path} ({task})")
    values |= parse_overrides(assignments)
    return build_config(kind, values, f"antiphon train {task}")
