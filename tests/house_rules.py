"""The rules of the house that ruff and mypy cannot see, as functions from source text to breaches.

CONTRIBUTING.md states them in words. test_house_rules.py runs them over the repository, and over a
bad sample of each.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_INIT_LINES = 20
DEVICE_NAMES = re.compile(r"cuda(:\d+)?")
ADDRESS_PARTS = ("localhost:", "127.0.0.1:")
DEBUGGERS = {"pdb", "ipdb", "pudb"}
EMPTY_NAMES = {"utils.py", "helpers.py", "misc.py", "common.py", "tools.py"}
COMPATIBLE_NAMES = {"speech_tokenizer/utils.py"}  # the import path of the original
MATCHA_FOLDER = "third_party/Matcha-TTS/"

OURS = ("antiphon", "speech_tokenizer", "flow_inference", "cosyvoice", "matcha")
FOUNDATION = tuple(
    f"antiphon.{name}"
    for name in ("errors", "logs", "audio", "checkpoints", "freed_memory", "priority")
)
PROTOCOLS = ("antiphon.models.base", "antiphon.engine.base")
LIBRARIES = ("speech_tokenizer", "flow_inference")
SETTINGS = ("antiphon.config", "antiphon.models.registry")
PROGRAMS = (
    *(f"antiphon.{name}" for name in ("assembly", "cli", "cli_ask", "cli_bench", "cli_train")),
    *(f"antiphon.{name}" for name in ("cli_chat", "cli_notices", "cli_talk")),
    *(f"antiphon.{name}" for name in ("launcher", "serving", "web", "__main__")),
    *("model_server", "web_demo", "benchmarks", "tests"),
)
# Which of ours a module may import; the longest name that fits the module decides. A layer may
# always import itself. What is not named here (programs, tests) is free.
LAYERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(FOUNDATION, FOUNDATION),
    "speech_tokenizer": FOUNDATION,
    "matcha": FOUNDATION,
    "cosyvoice": (*FOUNDATION, "matcha"),
    "flow_inference": (*FOUNDATION, "cosyvoice"),
    "antiphon.api": FOUNDATION,
    "antiphon.codecs": FOUNDATION,
    "antiphon.engine": (*FOUNDATION, "antiphon.api"),
    "antiphon.config": (*FOUNDATION, "antiphon.engine.quantization"),
    "antiphon.models": (*FOUNDATION, *LIBRARIES, "antiphon.codecs", "antiphon.engine"),
    "antiphon.dialogue": (*FOUNDATION, *PROTOCOLS),
    "antiphon.server": (
        *(*FOUNDATION, *SETTINGS, *PROTOCOLS),
        *("antiphon.api", "antiphon.dialogue", "antiphon.engine"),
    ),
    "antiphon.talk": (*FOUNDATION, "antiphon.api"),
    "antiphon.realtime": (*FOUNDATION, *PROTOCOLS, "antiphon.api", "antiphon.dialogue"),
    "antiphon.demo": (
        *(*FOUNDATION, *SETTINGS, *PROTOCOLS),
        *("antiphon.api", "antiphon.dialogue", "antiphon.realtime"),
    ),
}
NOBODY_IMPORTS = {
    "antiphon.training": (*PROGRAMS, "antiphon.bench"),
    "antiphon.evaluation": (*PROGRAMS[1:], "antiphon.bench"),
    "antiphon.bench": PROGRAMS[1:],
}


@dataclass(frozen=True)
class Source:
    """One Python file.

    Attributes:
        path: Path below the repository root, with forward slashes.
        text: Its content.
    """

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All nodes of the syntax tree."""
        return tuple(ast.walk(self.tree))

    @property
    def module(self) -> str:
        """The dotted name it is imported by."""
        name = self.path.removeprefix(MATCHA_FOLDER).removesuffix(".py").replace("/", ".")
        return name.removesuffix(".__init__")

    @property
    def is_package_code(self) -> bool:
        """Whether it is part of what is installed (not a test, a benchmark or a start script)."""
        return self.module.split(".")[0] in OURS

    @property
    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and dotted name of everything imported, wherever it stands."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.lineno, node.module
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


Breaches = Iterator[tuple[int, str]]
Rule = Callable[[Source], Breaches]


def is_below(module: str, prefixes: tuple[str, ...]) -> bool:
    """Tell whether a dotted name is one of the prefixes or lies below one."""
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


def may_import(module: str, name: str) -> bool:
    """Tell whether `module` may import `name`, both dotted and both ours."""
    layer = max((key for key in LAYERS if is_below(module, (key,))), key=len, default=None)
    if name == "antiphon" or is_below(name, ("antiphon.__version__",)):
        return True
    if layer is None:
        forbidden = next((v for k, v in NOBODY_IMPORTS.items() if is_below(module, (k,))), ())
        return not is_below(name, forbidden)
    parts = module.split(".")
    if layer == "antiphon.models" and len(parts) > 2 and parts[2] not in {"base", "registry"}:
        family = ".".join(parts[:3])
        return is_below(name, (family, "antiphon.models.base", *LAYERS[layer]))
    return is_below(name, (layer, *LAYERS[layer]))


def import_direction(source: Source) -> Breaches:
    """Layers import downwards only; `from package import module` counts as the module."""
    lines: dict[tuple[int, str], bool] = {}
    for line, name in source.imports:
        if not is_below(name, (*OURS, *PROGRAMS)):
            continue
        parent = (line, name.rpartition(".")[0])
        if parent in lines:  # `from a import b`: fine if either a or a.b may be imported
            lines[parent] |= may_import(source.module, name)
        else:
            lines[line, name] = may_import(source.module, name)
    for (line, name), is_allowed in lines.items():
        if not is_allowed:
            yield line, f"{source.module} may not import {name}"


def file_length(source: Source) -> Breaches:
    """Files stay readable in one go."""
    n_lines = source.text.count("\n")
    limit = MAX_INIT_LINES if source.path.endswith("__init__.py") else MAX_FILE_LINES
    if n_lines > limit:
        yield 1, f"{n_lines} lines, at most {limit}"


def function_length(source: Source) -> Breaches:
    """Functions stay on one screen."""
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if n_lines > MAX_FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {n_lines} lines, at most {MAX_FUNCTION_LINES}"


def module_docstring(source: Source) -> Breaches:
    """Every file opens with what it does."""
    if source.text.strip() and not ast.get_docstring(source.tree):
        yield 1, "no docstring"


def telling_name(source: Source) -> Breaches:
    """File names are the noun inside."""
    name = source.path.rpartition("/")[2]
    if name in EMPTY_NAMES and source.path not in COMPATIBLE_NAMES:
        yield 1, f"{name} says nothing"


def computed_default(source: Source) -> Breaches:
    """Defaults are not shared between calls."""
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            if any(isinstance(each, ast.List | ast.Dict | ast.Set | ast.Call) for each in defaults):
                yield node.lineno, "a default that is computed once"


def global_statement(source: Source) -> Breaches:
    """No state of a module is changed by functions."""
    for node in source.nodes:
        if isinstance(node, ast.Global):
            yield node.lineno, f"global {', '.join(node.names)}"


def bare_except(source: Source) -> Breaches:
    """Handlers name what they catch."""
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "except without a name"


def debugger(source: Source) -> Breaches:
    """No debugger is left behind."""
    for node in source.nodes:
        if isinstance(node, ast.Import) and DEBUGGERS & {alias.name for alias in node.names}:
            yield node.lineno, "a debugger"
        elif isinstance(node, ast.Call) and dotted_name(node.func) == "breakpoint":
            yield node.lineno, "a breakpoint"


def dotted_name(node: ast.expr) -> str:
    """Write `a.b.c` for names and attributes; other expressions become `?`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    """Yield every call with the text of what it calls."""
    for node in source.nodes:
        if isinstance(node, ast.Call):
            yield node, dotted_name(node.func)


def search_path(source: Source) -> Breaches:
    """Nothing edits sys.path."""
    yield from ((n.lineno, name) for n, name in calls(source) if name.startswith("sys.path."))


def print_call(source: Source) -> Breaches:
    """Libraries log; only the command line prints."""
    if not source.module.startswith("antiphon.cli"):
        yield from ((node.lineno, name) for node, name in calls(source) if name == "print")


def device_call(source: Source) -> Breaches:
    """The device is an argument."""
    yield from ((node.lineno, name) for node, name in calls(source) if name.endswith(".cuda"))


def global_seed(source: Source) -> Breaches:
    """Random numbers come from a generator that is passed in."""
    seeds = {"torch.manual_seed", "random.seed", "np.random.seed", "numpy.random.seed"}
    yield from ((node.lineno, name) for node, name in calls(source) if name in seeds)


def unsafe_load(source: Source) -> Breaches:
    """Checkpoints may not run code."""
    for node, name in calls(source):
        if name == "torch.load":
            safe = [keyword for keyword in node.keywords if keyword.arg == "weights_only"]
            if not safe or ast.unparse(safe[0].value) != "True":
                yield node.lineno, "torch.load without weights_only=True"


def fixed_place(source: Source) -> Breaches:
    """No device and no address is written into the code."""
    for node in source.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_address = any(part in node.value for part in ADDRESS_PARTS)
            if DEVICE_NAMES.fullmatch(node.value) or is_address:
                yield node.lineno, f"{node.value[:30]!r}"


def public_any(source: Source) -> Breaches:
    """Public functions say what they take and give."""
    for node in source.nodes:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        notes = [arg.annotation for arg in arguments] + [node.returns]
        if node.name.startswith("_"):
            continue
        texts = [ast.unparse(note) for note in notes if note is not None]
        if any(re.search(r"\bAny\b", text) for text in texts):
            yield node.lineno, f"{node.name} takes or gives Any"


def top_level_imports(source: Source, known: frozenset[str]) -> set[str]:
    """Give the known modules that are imported as soon as this one is."""
    body = [node for node in source.tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = {node.lineno for node in body}
    return {name for line, name in source.imports if line in lines and name in known}


def find_cycle(sources: list[Source]) -> list[str] | None:
    """Find modules that import each other in a circle; packages' own `__init__` are left out."""
    modules = {each.module: each for each in sources if not each.path.endswith("__init__.py")}
    known = frozenset(modules)
    edges = {name: sorted(top_level_imports(each, known)) for name, each in modules.items()}
    finished: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str] | None:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in finished:
            return None
        for target in edges[name]:
            if cycle := visit(target, [*path, name]):
                return cycle
        finished.add(name)
        return None

    return next((cycle for name in sorted(edges) if (cycle := visit(name, []))), None)


EVERYWHERE: tuple[Rule, ...] = (
    *(file_length, function_length, module_docstring, telling_name, computed_default),
    *(global_statement, bare_except, debugger, search_path, unsafe_load, import_direction),
)
IN_PACKAGES: tuple[Rule, ...] = (print_call, device_call, global_seed, fixed_place, public_any)


def check(source: Source) -> list[str]:
    """List the breaches of one file as `path:line: rule: what`."""
    rules = (*EVERYWHERE, *IN_PACKAGES) if source.is_package_code else EVERYWHERE
    return [
        f"{source.path}:{line}: {rule.__name__}: {what}"
        for rule in rules
        for line, what in rule(source)
    ]
