"""Reads a decoder's config.yaml without running what it names: three packages, classes only.

The official file is written for a loader that may call anything. Here `!new:` and `!name:` reach
classes below `cosyvoice.` and `matcha.` alone, and everything else is refused by name.
"""

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import yaml
from torch import nn

from antiphon.errors import ConfigError
from cosyvoice.flow.decoder import ConditionalDecoder
from cosyvoice.flow.flow import MaskedDiffWithXvec
from cosyvoice.flow.solving import Solving
from cosyvoice.hifigan.generator import HiFTGenerator

ALLOWED_PACKAGES = ("cosyvoice.", "matcha.")
DICT_CONFIG = "omegaconf.DictConfig"
IGNORED_SECTIONS = frozenset({"llm"})
SEED_CALLS = frozenset(
    {
        "random.seed",
        "numpy.random.seed",
        "torch.manual_seed",
        "torch.cuda.manual_seed_all",
    }
)
MAX_BYTES = 1_000_000
MAX_NODES = 10_000
MAX_DEPTH = 50


class AttributeDict(dict[str, object]):
    """A dictionary whose entries can also be read as attributes."""

    def __getattr__(self, name: str) -> object:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no setting {name!r}; there are {', '.join(self)}") from None


class ObjectSpec(NamedTuple):
    """A tagged entry: the class it names and its arguments; `is_reference` for `!name:`."""

    target: str
    arguments: dict[str, object]
    is_reference: bool


class Reference(NamedTuple):
    """`!ref <name>`: another top-level entry."""

    name: str


class SeedCall(NamedTuple):
    """A line that would set a global seed; skipped."""


class DecoderConfigLoader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML as data: tags become descriptions, and size, depth and aliases are bounded."""

    n_nodes: int = 0
    depth: int = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node, counting it; anchors and aliases are refused."""
        if self.check_event(yaml.AliasEvent):
            raise ConfigError("aliases (*name) are not allowed in a decoder config")
        self.n_nodes += 1
        self.depth += 1
        if self.n_nodes > MAX_NODES or self.depth > MAX_DEPTH:
            raise ConfigError(
                f"decoder config is too large: more than {MAX_NODES} entries or {MAX_DEPTH} levels"
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _arguments(loader: DecoderConfigLoader, tag: str, node: yaml.Node) -> dict[str, object]:
    """Read the arguments under a tag: a mapping or nothing."""
    if isinstance(node, yaml.MappingNode):
        return {str(key): value for key, value in loader.construct_mapping(node, True).items()}
    if isinstance(node, yaml.ScalarNode) and not node.value:
        return {}
    raise ConfigError(f"{tag} must be followed by named arguments")


def _construct_object(loader: DecoderConfigLoader, suffix: str, node: yaml.Node) -> ObjectSpec:
    check_target(suffix)
    return ObjectSpec(suffix, _arguments(loader, f"!new:{suffix}", node), False)


def _construct_name(loader: DecoderConfigLoader, suffix: str, node: yaml.Node) -> ObjectSpec:
    check_target(suffix)
    return ObjectSpec(suffix, _arguments(loader, f"!name:{suffix}", node), True)


def _construct_reference(loader: DecoderConfigLoader, node: yaml.Node) -> Reference:
    text = str(loader.construct_scalar(node)) if isinstance(node, yaml.ScalarNode) else ""
    if not (text.startswith("<") and text.endswith(">")):
        raise ConfigError(f"!ref {text!r} is not supported; expected !ref <name>")
    return Reference(text[1:-1])


def _construct_call(loader: DecoderConfigLoader, suffix: str, node: yaml.Node) -> SeedCall:
    if suffix not in SEED_CALLS:
        raise ConfigError(f"!apply:{suffix} is refused: a decoder config must not call functions")
    return SeedCall()


def _refuse_tag(loader: DecoderConfigLoader, suffix: str, node: yaml.Node) -> object:
    raise ConfigError(f"tag {node.tag} is refused in a decoder config")


DecoderConfigLoader.add_multi_constructor("!new:", _construct_object)
DecoderConfigLoader.add_multi_constructor("!name:", _construct_name)
DecoderConfigLoader.add_multi_constructor("!apply:", _construct_call)
DecoderConfigLoader.add_constructor("!ref", _construct_reference)
DecoderConfigLoader.add_multi_constructor("!", _refuse_tag)
DecoderConfigLoader.add_multi_constructor("tag:yaml.org,2002:python/", _refuse_tag)
DecoderConfigLoader.add_implicit_resolver(  # 1e-6 is a number in YAML 1.2 and in the official file
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+\Z"),
    list("-+0123456789"),
)


def check_target(name: str) -> None:
    """Refuse a dotted name outside the packages a decoder is made of.

    Raises:
        ConfigError: If it is.
    """
    parts = name.split(".")
    is_public = all(part.isidentifier() and not part.startswith("_") for part in parts)
    if name != DICT_CONFIG and not (is_public and name.startswith(ALLOWED_PACKAGES)):
        raise ConfigError(
            f"{name!r} is refused in a decoder config; only names below "
            f"{', '.join(ALLOWED_PACKAGES)} and {DICT_CONFIG} are resolved"
        )


def resolve(name: str, *, only_modules: bool) -> object:
    """Import what a checked name stands for.

    Raises:
        ConfigError: If there is no such thing, it is not ours, or no module where one is needed.
    """
    check_target(name)
    module_name, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"decoder config names {name}, which does not exist here") from error
    is_module_class = isinstance(found, type) and issubclass(found, nn.Module)
    home = getattr(found, "__module__", "") + "."
    if not home.startswith(ALLOWED_PACKAGES) or (only_modules and not is_module_class):
        raise ConfigError(f"decoder config names {name}, which is not a part of a decoder")
    return found


@dataclass(frozen=True)
class DecoderConfig:
    """A checked config.yaml.

    Attributes:
        path: The file, for messages.
        sample_rate: Samples a second of the waveform.
        entries: Top-level entries, with tags as descriptions.
    """

    path: Path
    sample_rate: int
    entries: Mapping[str, object]

    @cached_property
    def flow(self) -> MaskedDiffWithXvec:
        """The decoder from tokens to mel, fresh and in eval mode; built when first used."""
        return self.build_flow()

    @property
    def solving(self) -> Solving:
        """How to solve the flow, from the entry `inference`; without one as published.

        Raises:
            ConfigError: If the entry says anything else or does not fit.
        """
        values = self.entries.get("inference", {})
        known = [each.name for each in fields(Solving)]
        if not isinstance(values, dict) or not set(values) <= set(known):
            raise ConfigError(
                f"{self.path}: inference is {values!r}; expected values for {', '.join(known)}"
            )
        return Solving(**values)

    @cached_property
    def hift(self) -> HiFTGenerator:
        """The vocoder, fresh and in eval mode; built when first used."""
        return self.build_hift()

    def build_flow(self, *, additive_mask_compat: bool = False) -> MaskedDiffWithXvec:
        """Build a decoder from tokens to mel.

        Args:
            additive_mask_compat: See `ConditionalDecoder`.

        Raises:
            ConfigError: If the config does not describe one.
        """
        flow = self.build("flow")
        if not isinstance(flow, MaskedDiffWithXvec):
            raise ConfigError(f"{self.path}: flow must be a MaskedDiffWithXvec")
        estimator = flow.decoder.estimator
        if isinstance(estimator, ConditionalDecoder):
            estimator.additive_mask_compat = additive_mask_compat
        return flow.eval()

    def build_hift(self) -> HiFTGenerator:
        """Build a vocoder.

        Raises:
            ConfigError: If the config does not describe one.
        """
        hift = self.build("hift")
        if not isinstance(hift, HiFTGenerator):
            raise ConfigError(f"{self.path}: hift must be a HiFTGenerator")
        return hift.eval()

    def build(self, name: str) -> object:
        """Construct one top-level entry."""
        if name not in self.entries:
            raise ConfigError(f"{self.path} has no entry {name!r}")
        return self._construct(self.entries[name], (name,))

    def _construct(self, value: object, within: tuple[str, ...]) -> object:
        """Turn descriptions into objects, from the inside out."""
        if isinstance(value, Reference):
            if value.name in within or value.name not in self.entries:
                raise ConfigError(f"{self.path}: !ref <{value.name}> leads nowhere")
            return self._construct(self.entries[value.name], (*within, value.name))
        if isinstance(value, ObjectSpec):
            return self._construct_object(value, within)
        if isinstance(value, dict):
            return {key: self._construct(item, within) for key, item in value.items()}
        if isinstance(value, list):
            return [self._construct(item, within) for item in value]
        return value

    def _construct_object(self, spec: ObjectSpec, within: tuple[str, ...]) -> object:
        """Construct a tagged entry."""
        arguments = {key: self._construct(item, within) for key, item in spec.arguments.items()}
        if spec.target == DICT_CONFIG:
            content = arguments.get("content", {})
            return AttributeDict(content if isinstance(content, dict) else {})
        target = resolve(spec.target, only_modules=not spec.is_reference)
        if not callable(target):
            raise ConfigError(f"{self.path}: {spec.target} is not callable")
        if spec.is_reference:
            return partial(target, **arguments)
        try:
            return target(**arguments)
        except (TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise ConfigError(f"{self.path}: cannot build {spec.target}: {error}") from error


def load_decoder_config(path: str | Path) -> DecoderConfig:
    """Read and check a config.yaml; nothing is built yet.

    Raises:
        ConfigError: If the file is missing, no YAML, too large, or names what is not allowed.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read decoder config {path}: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path} is too large for a decoder config: over {MAX_BYTES} bytes")
    try:
        entries = yaml.load(content, Loader=DecoderConfigLoader)  # noqa: S506 - a SafeLoader
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not a decoder config: {reason}") from error
    if not isinstance(entries, dict):
        raise ConfigError(f"{path}: expected named entries such as flow: and hift:")
    kept = {
        str(key): value
        for key, value in entries.items()
        if key not in IGNORED_SECTIONS and not isinstance(value, SeedCall)
    }
    sample_rate = kept.get("sample_rate")
    if type(sample_rate) is not int or sample_rate <= 0:
        raise ConfigError(f"{path}: sample_rate must be a positive number, got {sample_rate!r}")
    return DecoderConfig(path, sample_rate, kept)
