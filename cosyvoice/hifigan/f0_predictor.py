"""Predicts the fundamental frequency of each mel frame."""

import torch
from torch import Tensor, nn

from cosyvoice.hifigan.weight_norm import WeightNormConv1d

_N_LAYERS = 5


class ConvRNNF0Predictor(nn.Module):
    """Five convolutions and a linear layer; the constructor's names are checkpoint-config keys.

    Args:
        num_class: Outputs a frame; 1 for f0.
        in_channels: Mel channels.
        cond_channels: Width of the convolutions.
    """

    def __init__(self, num_class: int = 1, in_channels: int = 80, cond_channels: int = 512) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(_N_LAYERS):
            width = in_channels if index == 0 else cond_channels
            layers += [WeightNormConv1d(width, cond_channels, 3, padding=1), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(cond_channels, num_class)

    @property
    def context_frames(self) -> int:
        """Frames on each side that one output depends on."""
        return _N_LAYERS

    def forward(self, x: Tensor) -> Tensor:
        """Turn a mel (B, C, T) into f0 in Hz, (B, T); near 0 where unvoiced."""
        hidden = self.condnet(x).transpose(1, 2)  # (B, T, D)
        return torch.abs(self.classifier(hidden).squeeze(-1))
