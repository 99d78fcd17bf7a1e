"""What the encoder keeps of the earlier blocks of a segment. Knows no waveforms, no files."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass
class KeyValues:
    """Keys and values of one attention layer, (B, H, T, d / H) each; None before the first block.

    Tensors are replaced, never changed, so that a copy may share them.
    """

    key: Tensor | None = None
    value: Tensor | None = None

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of the next block; returns all."""
        if self.key is not None and self.value is not None:
            key = torch.cat([self.key, key], dim=2)  # (B, H, T_past + T, d / H)
            value = torch.cat([self.value, value], dim=2)
        self.key, self.value = key, value
        return key, value


@dataclass
class BlockState:
    """State of one segment between two blocks.

    Attributes:
        layers: One for each layer of the encoder.
        features: The last feature frames, (B, n_mels, 4), which the convolutions look back at.
        n_frames: Frames of 20 ms taken so far.
    """

    layers: list[KeyValues]
    features: Tensor | None = None
    n_frames: int = 0

    @classmethod
    def start(cls, n_layers: int) -> Self:
        """State before the first block of a segment."""
        return cls([KeyValues() for _ in range(n_layers)])

    def copy(self) -> Self:
        """A state that goes its own way."""
        layers = [KeyValues(layer.key, layer.value) for layer in self.layers]
        return type(self)(layers, self.features, self.n_frames)
