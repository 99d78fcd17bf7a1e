"""Finds weights (a folder or a hub name), reads them safely and says which keys differ.

Knows no model: it hands out dictionaries of tensors and compares names and shapes.
"""

import json
import logging
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import torch
from huggingface_hub import errors as hub_errors
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from antiphon.errors import CheckpointError

StateDict = dict[str, Tensor]
Shapes = Mapping[str, Sequence[int]]

DEFAULT_HUB = "https://huggingface.co"
CHECKPOINT_FILES = ("*.json", "*.yaml", "*.safetensors", "*.bin", "*.pt", "*.model", "*.txt")
N_NAMED = 5
"""How many keys a message names before it only counts."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_LFS_POINTER = b"version https://git-lfs"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeyDifferences:
    """How a state dict differs from what a model expects.

    Attributes:
        missing: Keys the model needs and the file has not.
        unexpected: Keys the file has and the model does not know.
        wrong_shape: "key: expected (..), got (..)" for each key of another shape.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.wrong_shape)

    def describe(self) -> str:
        """Name the first few keys of each kind and count the rest."""
        kinds = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": self.wrong_shape,
        }
        return "; ".join(
            f"{len(keys)} {kind}: {name_some(keys)}" for kind, keys in kinds.items() if keys
        )


def resolve_checkpoint(
    name_or_folder: str | Path, *, allow_patterns: Sequence[str] = CHECKPOINT_FILES
) -> Path:
    """Turn a folder or a hub name such as `zai-org/glm-4-voice-9b` into a local folder.

    A hub name is downloaded into the usual cache with progress bars; files already there are not
    fetched again, and a dropped connection goes on where it broke off. `HF_ENDPOINT` chooses
    another hub.

    Args:
        name_or_folder: A folder, or `owner/name` on the hub.
        allow_patterns: Which files of a hub checkpoint to fetch.

    Raises:
        CheckpointError: If there is no such folder and the hub cannot give it; says why.
    """
    name = str(name_or_folder)
    folder = expand_user(name)
    if name and folder.is_dir():
        return folder
    if name and folder.exists():
        raise CheckpointError(f"{name} is a file; expected a checkpoint folder")
    if not _HUB_NAME.fullmatch(name):
        raise CheckpointError(
            f"no folder {name!r}; give an existing checkpoint folder or a hub name like owner/name"
        )
    return download(name, allow_patterns)


def expand_user(name: str) -> Path:
    """Resolve a leading ~; the name of an unknown user stays as it is."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def download(name: str, allow_patterns: Sequence[str]) -> Path:
    """Fetch a hub checkpoint into the cache and return its folder."""
    endpoint = os.environ.get("HF_ENDPOINT", DEFAULT_HUB).rstrip("/")
    logger.info("looking up %s on %s", name, endpoint)
    try:
        folder = huggingface_hub.snapshot_download(
            name, endpoint=endpoint, allow_patterns=list(allow_patterns)
        )
    except Exception as error:  # the hub's transport, and with it its errors, differ by version
        raise CheckpointError(explain_hub_error(error, name, endpoint)) from error
    return Path(folder)


def explain_hub_error(error: Exception, name: str, endpoint: str) -> str:
    """Say in words what went wrong with the hub and what to do."""
    if isinstance(error, hub_errors.GatedRepoError):
        return f"{name} on {endpoint} needs permission: accept its licence there, then log in"
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        return (
            f"{name} is neither a folder here nor a model on {endpoint}; "
            "check the spelling, or log in if it is private"
        )
    if isinstance(error, hub_errors.HFValidationError):
        return f"{name} is neither a folder here nor a valid hub name: {error}"
    reason = str(error).strip().split("\n")[0].rstrip(". ") or type(error).__name__
    if isinstance(error, hub_errors.LocalEntryNotFoundError | hub_errors.OfflineModeIsEnabled):
        return (
            f"there is no folder {name}, and it cannot be fetched from the hub: {endpoint} cannot "
            "be reached and no complete copy is on this machine; check the connection, or give the "
            "folder of a downloaded checkpoint"
        )
    return (
        f"downloading {name} from {endpoint} failed: {reason}. "
        "Run the same command again; finished files are kept"
    )


def load_safetensors(path: str | Path) -> StateDict:
    """Read a safetensors file; data is mapped from disk and read when used.

    Raises:
        CheckpointError: If the file is missing, truncated or not in this format.
    """
    path = require_file(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or incomplete ({error}); fetch it again"
        ) from error


def load_torch(path: str | Path) -> StateDict:
    """Read a `torch.save`d state dict without running any code in it.

    Raises:
        CheckpointError: If the file is missing, truncated or holds anything but named tensors.
    """
    path = require_file(path)
    try:
        is_mapped = zipfile.is_zipfile(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).split("\n")[0].split(". ")[0]
        raise CheckpointError(
            f"{path} is not a plain state dict: it is damaged or holds Python objects, which are "
            f"refused for safety ({reason})"
        ) from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise CheckpointError(f"{path}: expected a dictionary of tensors, got a {kind}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise CheckpointError(f"{path}: expected tensors only, but {key!r} is a {kind}")
    return dict(content)


def load_weights(path: str | Path) -> StateDict:
    """Read a weight file of either format, told apart by its suffix."""
    load = load_safetensors if Path(path).suffix == ".safetensors" else load_torch
    return load(path)


def require_file(path: str | Path) -> Path:
    """Check that a weight file is there and is the data itself.

    Raises:
        CheckpointError: If it is missing, may not be read or is only a Git LFS pointer.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; expected a weight file")
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror or error}; let this user read it"
        ) from error
    if start == _LFS_POINTER:
        raise CheckpointError(
            f"{path} is a Git LFS pointer, not the weights; run `git lfs pull` in its folder"
        )
    return path


def find_weight_files(
    folder: str | Path, stems: Sequence[str] = ("model", "pytorch_model")
) -> list[Path]:
    """List the weight files of a checkpoint: one file, or the shards its index names.

    Safetensors are preferred over torch files.

    Raises:
        CheckpointError: If there are none, or a shard named by the index is missing.
    """
    folder = Path(folder)
    names = [f"{stem}{suffix}" for suffix in (".safetensors", ".bin") for stem in stems]
    for name in names:
        index = folder / f"{name}.index.json"
        if index.is_file():
            return [
                require_file(folder / shard) for shard in sorted(set(read_index(index).values()))
            ]
        if (folder / name).is_file():
            return [folder / name]
    raise CheckpointError(
        f"{folder} holds no weights; expected one of {', '.join(names)} or an .index.json of one"
    )


def read_index(path: Path) -> dict[str, str]:
    """Read the table key -> shard file of a sharded checkpoint.

    Raises:
        CheckpointError: If the file is no index, or names a file outside its folder.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        names = {str(key): str(shard) for key, shard in table.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a shard index with a weight_map: {error!r}"
        ) from error
    for shard in names.values():
        if Path(shard).name != shard:
            raise CheckpointError(f"{path}: shard {shard!r} lies outside the checkpoint folder")
    return names


def shapes_of(state_dict: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Give the shape of each tensor."""
    return {key: tuple(value.shape) for key, value in state_dict.items()}


def compare_keys(
    expected: Shapes, found: Shapes, ignore: Callable[[str], bool] | Collection[str] = ()
) -> KeyDifferences:
    """Compare names and shapes.

    Args:
        expected: Key to shape, as the model has them.
        found: Key to shape, as the file has them.
        ignore: Keys, or a test for keys, that the file may have and the model does not use.
    """
    ignored = ignore if callable(ignore) else ignore.__contains__
    return KeyDifferences(
        missing=tuple(key for key in expected if key not in found),
        unexpected=tuple(key for key in found if key not in expected and not ignored(key)),
        wrong_shape=tuple(
            f"{key}: expected {tuple(shape)}, got {tuple(found[key])}"
            for key, shape in expected.items()
            if key in found and tuple(found[key]) != tuple(shape)
        ),
    )


def check_keys(
    expected: Shapes,
    found: Shapes,
    where: str | Path,
    ignore: Callable[[str], bool] | Collection[str] = (),
) -> None:
    """Refuse weights that do not fit.

    Raises:
        CheckpointError: If keys are missing, unexpected or of another shape; names them.
    """
    differences = compare_keys(expected, found, ignore)
    if differences:
        raise CheckpointError(
            f"{where} does not fit the model its config describes: {differences.describe()}"
        )


def load_strict(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    where: str | Path,
    ignore: Callable[[str], bool] | Collection[str] = (),
    *,
    assign: bool = False,
) -> None:
    """Load a state dict into a module; every key has to fit.

    Args:
        module: What to fill.
        state_dict: Key to tensor.
        where: File named in error messages.
        ignore: Keys, or a test for keys, to leave out.
        assign: Take the tensors themselves instead of copying them (for modules on `meta`).

    Raises:
        CheckpointError: If keys are missing, unexpected or of another shape; names them.
    """
    expected = shapes_of(module.state_dict())
    check_keys(expected, shapes_of(state_dict), where, ignore)
    kept = {key: value for key, value in state_dict.items() if key in expected}
    module.load_state_dict(kept, strict=True, assign=assign)


def name_some(keys: Sequence[str]) -> str:
    """Name the first few keys and say how many follow."""
    rest = len(keys) - N_NAMED
    return ", ".join(keys[:N_NAMED]) + (f" and {rest} more" if rest > 0 else "")
