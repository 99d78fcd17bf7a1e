"""Builds a `WhisperVQEncoder` from a checkpoint folder, in either published layout.

Knows key names; how files are read is the business of `antiphon.checkpoints`.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from antiphon.checkpoints import StateDict, find_weight_files, load_strict, load_weights
from speech_tokenizer.configuration_whisper import WhisperVQConfig
from speech_tokenizer.modeling_whisper import WhisperVQEncoder

TRAINING_PREFIX = "model.encoder."
_FULL_PRECISION = ("codebook.weight", "ema_count", "ema_weight")
_STATISTICS = ("ema_count", "ema_weight")
_LEFT_OUT = re.compile(r"layers\.\d+\.|layer_norm\.|(model\.)?decoder\.|proj_out\.")

logger = logging.getLogger(__name__)


def load_encoder(
    folder: Path, device: torch.device, dtype: torch.dtype = torch.float32
) -> WhisperVQEncoder:
    """Build the encoder of a checkpoint folder, in eval mode.

    Codes stay in float32 whatever `dtype` is, as the nearest one decides the token.

    Raises:
        CheckpointError: If a file or key is missing, damaged or of the wrong shape.
    """
    config = WhisperVQConfig.from_json(folder)
    with torch.device("meta"):
        encoder = WhisperVQEncoder(config)
    found: StateDict = {}
    for file in find_weight_files(folder):
        found |= official_layout(load_weights(file))
    add_statistics(found)
    wanted = encoder.state_dict()
    state = {
        key: tensor.to(device, torch.float32 if key in _FULL_PRECISION else dtype)
        if key in wanted
        else tensor
        for key, tensor in found.items()
    }
    load_strict(encoder, state, folder, is_left_out, assign=True)
    encoder.codebook.weight.requires_grad_(False)
    return encoder.eval()


def official_layout(tensors: Mapping[str, Tensor]) -> StateDict:
    """Name the tensors of the training layout, prefixed "model.encoder.", as the published ones."""
    return {key.removeprefix(TRAINING_PREFIX): tensor for key, tensor in tensors.items()}


def is_left_out(key: str) -> bool:
    """Tell whether a key is a known part of the training model that tokenizing does not need."""
    return _LEFT_OUT.match(key) is not None


def add_statistics(tensors: StateDict) -> None:
    """Start the training statistics of a checkpoint without them; they do not affect tokens."""
    codes = tensors.get("codebook.weight")
    missing = [key for key in _STATISTICS if key not in tensors]
    if codes is None or not missing:
        return
    logger.info("the checkpoint has no %s; starting afresh", " and ".join(missing))
    fresh = {"ema_count": torch.ones(codes.shape[0]), "ema_weight": codes.float().clone()}
    tensors.update({key: fresh[key] for key in missing})
