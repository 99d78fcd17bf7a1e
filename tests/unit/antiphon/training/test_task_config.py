"""Settings of training tasks: recipes, overrides, and refusals that list what is valid."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.training import task_config
from antiphon.training.task_config import load_task_config


@dataclass(frozen=True)
class Settings:
    """Of every type a task may use."""

    out: str = "here"
    minutes: float = 40.0
    rows: int = 6
    max_steps: int | None = None
    use_bf16: bool = True
    layers: tuple[int, ...] = (1, 2)
    folder: Path = Path()


@pytest.fixture
def recipe(tmp_path):
    """Write a recipe and return its path."""

    def write(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def load(recipe=None, *assignments):
    return load_task_config(Settings, "lm", recipe, assignments)


def test_defaults():
    assert load() == Settings()


def test_a_recipe_table_then_overrides(recipe):
    path = recipe("[lm]\nminutes = 5\nrows = 8\nlayers = [3]\n[decoder]\nwhatever = 1\n")
    assert load(path, "rows=9") == Settings(minutes=5.0, rows=9, layers=(3,))


def test_a_recipe_without_tables(recipe):
    assert load(recipe('out = "there"\nmax_steps = 7\n')) == Settings(out="there", max_steps=7)


def test_a_recipe_for_other_tasks_leaves_the_defaults(recipe):
    assert load(recipe("[decoder]\nrows = 1\n")) == Settings()


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("out=a=b", Settings(out="a=b")),
        ("minutes=3", Settings(minutes=3.0)),
        ("minutes=1e-3", Settings(minutes=0.001)),
        ("rows=1_000", Settings(rows=1000)),
        ("max-steps=5", Settings(max_steps=5)),
        ("max_steps=none", Settings()),
        ("use_bf16=false", Settings(use_bf16=False)),
        ("layers=4,5 6", Settings(layers=(4, 5, 6))),
        ("layers=[4, 5]", Settings(layers=(4, 5))),
        ("folder=x/y", Settings(folder=Path("x/y"))),
    ],
)
def test_overrides_take_the_type_of_their_field(assignment, expected):
    assert load(None, assignment) == expected


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("colour=red", "unknown setting colour; valid ones are out, minutes, rows"),
        ("rows=many", "rows must be int, got 'many'"),
        ("rows=1.5", "rows must be int"),
        ("use_bf16=perhaps", "use_bf16 must be bool"),
        ("layers=a", "layers must be"),
        ("rows", "must look like key=value"),
        ("=3", "must look like key=value"),
    ],
)
def test_wrong_overrides_are_refused(assignment, words):
    with pytest.raises(ConfigError, match=words):
        load(None, assignment)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[lm]\ncolour = 1", "unknown setting colour"),
        ("[lm]\nrows = 1.5", "rows must be int, got 1.5"),
        ("[lm]\nrows = true", "rows must be int, got True"),
        ("[lm]\nlayers = 3", "layers must be"),
        ("rows = 1\n[lm]\nminutes = 1", "rows must stand in a table"),
        ("rows = ", "cannot read recipe"),
    ],
)
def test_wrong_recipes_are_refused(recipe, text, words):
    with pytest.raises(ConfigError, match=words):
        load(recipe(text))


def test_a_missing_recipe_is_named():
    with pytest.raises(ConfigError, match="no recipe 'gone'"):
        load("gone")


def test_a_recipe_of_the_package_is_found_by_name_alone_or_after_its_task(tmp_path, monkeypatch):
    monkeypatch.setattr(task_config, "RECIPE_FOLDER", tmp_path)
    (tmp_path / "fast.toml").write_text("[lm]\nrows = 1\n")
    assert load("fast").rows == 1
    (tmp_path / "lm-fast.toml").write_text("rows = 2\n")
    assert load("fast").rows == 2
