"""Reads the weights of a speech tokenizer folder, in either layout, and names what is wrong.

Knows file formats and key names; knows nothing of audio.
"""

import json
import logging
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from antiphon.errors import CheckpointError
from speech_tokenizer.configuration_whisper import WhisperVQConfig
from speech_tokenizer.modeling_whisper import WhisperVQEncoder

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
_PREFIXES = ("model.encoder.", "encoder.")
_FULL_PRECISION = ("codebook.weight", "ema_count", "ema_weight")
_TRAINING_ONLY = ("ema_count", "ema_weight")
_NAMED_AT_MOST = 5

_log = logging.getLogger(__name__)


def load_encoder(
    directory: Path, device: torch.device, dtype: torch.dtype = torch.float32
) -> WhisperVQEncoder:
    """Build the encoder of a checkpoint folder, in eval mode.

    Codes stay in float32 whatever `dtype` is, as the nearest one decides the token.

    Raises:
        CheckpointError: If a file or key is missing, damaged or of the wrong shape.
    """
    config = WhisperVQConfig.from_json(directory)
    with torch.device("meta"):
        encoder = WhisperVQEncoder(config)
    expected = encoder.state_dict()
    tensors = _read_wanted(weight_files(directory), set(expected))
    _fill_training_only(tensors, expected)
    check_tensors(tensors, expected, directory)
    state = {
        key: tensor.to(device, torch.float32 if key in _FULL_PRECISION else dtype)
        for key, tensor in tensors.items()
    }
    encoder.load_state_dict(state, assign=True)
    encoder.codebook.weight.requires_grad_(False)
    return encoder.eval()


def weight_files(directory: Path) -> list[Path]:
    """Return the safetensors files of a folder: one, or the shards its index names.

    Raises:
        CheckpointError: If there are none, or a shard is missing.
    """
    single, index = directory / WEIGHTS_NAME, directory / INDEX_NAME
    if single.is_file():
        return [single]
    if not index.is_file():
        raise CheckpointError(
            f"{directory} holds no {WEIGHTS_NAME}; give the folder of a speech tokenizer "
            "(config.json and model.safetensors)"
        )
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is not a shard index; fetch it again") from error
    files = [directory / Path(name).name for name in names]
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"shard {file} named by {INDEX_NAME} is missing; fetch it again")
    return files


def _read_wanted(files: list[Path], wanted: set[str]) -> dict[str, Tensor]:
    """Read the tensors whose official names are in `wanted`; refuse names that belong nowhere."""
    tensors: dict[str, Tensor] = {}
    unknown: list[str] = []
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                for key in opened.keys():  # noqa: SIM118 - not a dictionary
                    name = official_name(key)
                    if name in wanted:
                        tensors[name] = opened.get_tensor(key)
                    elif not _is_left_out(key, name):
                        unknown.append(key)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{file} is damaged or cut short ({error}); fetch it again"
            ) from error
    if unknown:
        raise CheckpointError(
            f"{files[0].parent}: unexpected keys {_some(unknown)}; "
            "is this the checkpoint of a speech tokenizer?"
        )
    return tensors


def official_name(key: str) -> str:
    """Strip the prefix of the training layout: "model.encoder.conv1.bias" -> "conv1.bias"."""
    for prefix in _PREFIXES:
        if key.startswith(prefix):
            return key.removeprefix(prefix)
    return key


def _is_left_out(key: str, name: str) -> bool:
    """Tell whether a key is a known part of the training model that tokenizing does not need."""
    in_decoder = key.startswith(("model.decoder.", "decoder.", "proj_out."))
    return in_decoder or re.match(r"layers\.\d+\.|layer_norm\.", name) is not None


def _fill_training_only(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Start statistics that a checkpoint leaves out; they do not matter for tokenizing."""
    if "codebook.weight" not in tensors:
        return
    for key in _TRAINING_ONLY:
        if key not in tensors:
            _log.info("the checkpoint has no %s; starting it afresh", key)
            fresh = tensors["codebook.weight"] if key == "ema_weight" else torch.ones(1)
            tensors[key] = fresh.expand(expected[key].shape).clone()


def check_tensors(tensors: dict[str, Tensor], expected: dict[str, Tensor], directory: Path) -> None:
    """Refuse tensors with missing keys or other shapes than `expected`, naming the keys."""
    missing = [key for key in expected if key not in tensors]
    if missing:
        raise CheckpointError(
            f"{directory}: missing keys {_some(missing)}; the weights do not belong to the "
            "config.json beside them, or are incomplete: fetch both again"
        )
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            raise CheckpointError(
                f"{directory}: {key} has shape {tuple(tensor.shape)}; config.json asks for "
                f"{tuple(expected[key].shape)}: the two files do not belong together"
            )
        if not tensor.is_floating_point():
            raise CheckpointError(f"{directory}: {key} is of type {tensor.dtype}; expected float")


def _some(keys: list[str]) -> str:
    """List the first few names and how many more there are."""
    more = len(keys) - _NAMED_AT_MOST
    return ", ".join(keys[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
