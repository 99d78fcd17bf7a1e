"""The rules of the house hold for every file of the repository, and each rule can fail."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import house_rules
from tests.house_rules import EVERYWHERE, IN_PACKAGES, OURS, Source, check

FOLDERS = (*OURS[:4], "third_party", "tests", "benchmarks")
MEGABYTE = 2**20
MAX_EMBEDDED_FILE = 15 * MEGABYTE
MAX_EMBEDDED = 64 * MEGABYTE
MAX_FILE = 2 * MEGABYTE
# Places that mean something on one machine only.
PRIVATE_PLACES = re.compile(
    r"(?<![\w.])/((work|Users)/\w|(home|opt)/(?!antiphon)\w)|pypi[.]org|pythonhosted|download\.pytorch"
)

# Bad samples: rule -> path and text of a file that breaks it.
BAD: dict[str, tuple[str, str]] = {
    "file_length": ("antiphon/long.py", '"""Long."""\n' + "x = 1\n" * 400),
    "function_length": ("antiphon/a.py", '"""A."""\ndef f():\n' + "    x = 1\n" * 60),
    "module_docstring": ("tests/a.py", "x = 1\n"),
    "telling_name": ("antiphon/demo/helpers.py", '"""A."""\n'),
    "computed_default": ("tests/a.py", '"""A."""\ndef f(*, x=[]):\n    pass\n'),
    "global_statement": ("tests/a.py", '"""A."""\ndef f():\n    global x\n    x = 1\n'),
    "bare_except": ("tests/a.py", '"""A."""\ntry:\n    pass\nexcept:\n    pass\n'),
    "debugger": ("tests/a.py", '"""A."""\nimport pdb\n'),
    "search_path": ("tests/a.py", '"""A."""\nimport sys\nsys.path.insert(0, ".")\n'),
    "unsafe_load": ("tests/a.py", '"""A."""\nx = torch.load("x", weights_only=False)\n'),
    "import_direction": (
        "speech_tokenizer/a.py",
        '"""A."""\nfrom antiphon.engine.base import Engine\n',
    ),
    "print_call": ("antiphon/engine/a.py", '"""A."""\nprint(1)\n'),
    "device_call": ("cosyvoice/a.py", '"""A."""\nx = model.cuda()\n'),
    "global_seed": ("cosyvoice/a.py", '"""A."""\ntorch.manual_seed(1)\n'),
    "fixed_place": ("antiphon/a.py", '"""A."""\nURL = "http://localhost:10000"\n'),
    "public_any": ("antiphon/a.py", '"""A."""\ndef f(x: "Any") -> int:\n    return 1\n'),
}
RULES = {rule.__name__: rule for rule in (*EVERYWHERE, *IN_PACKAGES)}


def python_files(root: Path) -> Iterator[Path]:
    yield from root.glob("*.py")
    for folder in FOLDERS:
        yield from (root / folder).rglob("*.py")


@pytest.fixture(scope="module")
def sources(repo_root: Path) -> list[Source]:
    """Every Python file of the repository."""
    return [
        Source(path.relative_to(repo_root).as_posix(), path.read_text("utf-8"))
        for path in sorted(python_files(repo_root))
    ]


def repository_files(root: Path) -> list[Path]:
    """Files that git tracks or would track."""
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("needs git and a clone to know which files belong to the repository")
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others"]
    listed = subprocess.run(
        [*command, "--exclude-standard"], capture_output=True, text=True, check=True
    ).stdout
    files = [root / name for name in listed.split("\0") if name]
    return [path for path in files if path.is_file()]


def test_every_file_keeps_the_rules(sources: list[Source]) -> None:
    breaches = [breach for source in sources for breach in check(source)]
    assert not breaches, "\n" + "\n".join(breaches)


def test_every_rule_has_a_bad_sample() -> None:
    assert set(BAD) == set(RULES)


@pytest.mark.parametrize("rule", BAD)
def test_a_bad_sample_is_found(rule: str) -> None:
    found = check(Source(*BAD[rule]))
    assert any(f": {rule}: " in breach for breach in found), found


@pytest.mark.parametrize(
    ("module", "name", "is_allowed"),
    [
        ("antiphon.engine.local_engine", "antiphon.errors", True),
        ("antiphon.engine.local_engine", "antiphon.dialogue.session", False),
        ("antiphon.models.glm4voice.loader", "antiphon.models.base", True),
        ("antiphon.models.glm4voice.loader", "antiphon.models.moshi.loader", False),
        ("antiphon.models.registry", "antiphon.models.glm4voice.loader", True),
        ("antiphon.dialogue.turn_pipeline", "antiphon.engine.base", True),
        ("antiphon.dialogue.turn_pipeline", "antiphon.engine.local_engine", False),
        ("antiphon.dialogue.turn_pipeline", "flow_inference.audio_decoder", False),
        ("matcha.models", "cosyvoice.flow", False),
        ("cosyvoice.flow.flow", "matcha.models", True),
        ("flow_inference.stream", "speech_tokenizer.tokenizer", False),
        ("antiphon.errors", "antiphon.config", False),
        ("antiphon.server.app", "antiphon.cli", False),
        ("antiphon.training.loop", "antiphon.engine.local_engine", True),
        ("antiphon.training.loop", "antiphon.cli", False),
        ("antiphon.evaluation.suite", "antiphon.bench.load", False),
        ("antiphon.bench.load", "antiphon.evaluation.report", True),
        ("antiphon.bench.load", "antiphon.cli", False),
        ("antiphon.cli", "antiphon.training.loop", True),
        ("antiphon.demo.ui", "antiphon", True),
    ],
)
def test_who_may_import_whom(module: str, name: str, is_allowed: bool) -> None:
    assert house_rules.may_import(module, name) is is_allowed


def test_a_clean_sample_has_no_breaches() -> None:
    text = '"""A."""\n\nimport torch\n\nfrom antiphon.models import base\n\n\ndef f() -> int:\n'
    assert check(Source("antiphon/dialogue/a.py", text + '    """F."""\n    return 1\n')) == []


def test_importing_a_module_from_its_package_counts_as_the_module() -> None:
    text = '"""A."""\nfrom antiphon.engine import local_engine\n'
    assert check(Source("antiphon/dialogue/a.py", text))
    assert not check(Source("antiphon/server/a.py", text))


def test_packages_have_no_gaps(repo_root: Path) -> None:
    """Every folder of modules is a package, so that installing finds it."""
    roots = [repo_root / name for name in OURS[:4]]
    roots.append(repo_root / house_rules.MATCHA_FOLDER / "matcha")
    folders = {path.parent for root in roots for path in root.rglob("*.py")}
    assert sorted(str(folder) for folder in folders if not (folder / "__init__.py").exists()) == []


def test_modules_do_not_import_each_other_in_a_circle(sources: list[Source]) -> None:
    assert house_rules.find_cycle(sources) is None


def test_a_circle_is_found() -> None:
    first = Source("antiphon/a.py", "from antiphon import b\n")
    second = Source("antiphon/b.py", "import antiphon.a\n")
    assert house_rules.find_cycle([first, second]) == ["antiphon.a", "antiphon.b", "antiphon.a"]
    lazy = Source("antiphon/b.py", "def f():\n    import antiphon.a\n")
    assert house_rules.find_cycle([first, lazy]) is None


def test_files_are_small(repo_root: Path) -> None:
    sizes = {path: path.stat().st_size for path in repository_files(repo_root)}
    embedded = repo_root / "resources/embedded"
    weights = {path: size for path, size in sizes.items() if embedded in path.parents}
    too_large = [
        f"{path.relative_to(repo_root)}: {size / MEGABYTE:.1f} MB"
        for path, size in sizes.items()
        if size > (MAX_EMBEDDED_FILE if path in weights else MAX_FILE)
    ]
    assert not too_large
    assert 0 < sum(weights.values()) <= MAX_EMBEDDED


def test_no_private_places_are_named(repo_root: Path) -> None:
    found = []
    for path in repository_files(repo_root):
        if path.suffix in {".md", ".py", ".toml", ".txt", ".yaml", ".yml", ".json", ""}:
            text = path.read_text("utf-8", errors="replace")
            if path != Path(__file__) and (match := PRIVATE_PLACES.search(text)):
                found.append(f"{path.relative_to(repo_root)}: {match.group()}")
    assert not found


@pytest.mark.parametrize(
    "text", ["cd /work/there", "see https://pypi" + ".org/x", "/home/me/model"]
)
def test_private_places_are_recognised(text: str) -> None:
    assert PRIVATE_PLACES.search(text)
