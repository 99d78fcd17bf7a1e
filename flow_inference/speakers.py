"""The voices of a decoder: names and speaker vectors, in a file beside its weights.

The published decoder has no such file; its one voice is a vector of zeros.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from antiphon.errors import CheckpointError

SPEAKERS_NAME = "speakers.safetensors"
DEFAULT_VOICE = "default"
_ORDER = "order"


def orthogonal_speakers(names: Sequence[str], size: int) -> dict[str, Tensor]:
    """Make a vector (size,) for each voice, the same for the same place, each at right angles."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(size, size, generator=generator))[0]
    return {name: basis[:, place].contiguous() for place, name in enumerate(names)}


def write_speakers(speakers: Mapping[str, Tensor], folder: Path) -> None:
    """Write the voices of a decoder; the first one is its usual voice."""
    save_file(dict(speakers), folder / SPEAKERS_NAME, metadata={_ORDER: ",".join(speakers)})


def read_speakers(folder: Path, size: int) -> dict[str, Tensor]:
    """Read the voices of a decoder, or make the one of a decoder without a file of them.

    Args:
        folder: The decoder's checkpoint.
        size: Width of a speaker vector.

    Raises:
        CheckpointError: If the file is damaged or holds other vectors.
    """
    path = folder / SPEAKERS_NAME
    if not path.exists():
        return {DEFAULT_VOICE: torch.zeros(size)}
    try:
        with safe_open(path, framework="pt") as file:
            order = (file.metadata() or {}).get(_ORDER, "")
            names = order.split(",") if order else sorted(file.keys())
            speakers = {name: file.get_tensor(name).float() for name in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"cannot read {path}: {error}; fetch it again") from error
    for name, vector in speakers.items():
        if vector.shape != (size,) or not torch.isfinite(vector).all():
            raise CheckpointError(
                f"{path}: {name} is no vector of {size} finite numbers; fetch it again"
            )
    return speakers
