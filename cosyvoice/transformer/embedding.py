"""Sinusoidal encoding of relative positions.

Source: Dai et al., "Transformer-XL" (arXiv 1901.02860).
"""

import math

import torch
from torch import Tensor, nn


class EspnetRelPositionalEncoding(nn.Module):
    """Scales the input and encodes the distances T-1 .. -(T-1) between two of its frames.

    Args:
        d_model: Width D, even.
        dropout_rate: Dropout on the input and on the encoding.
    """

    def __init__(self, d_model: int, dropout_rate: float) -> None:
        super().__init__()
        self.d_model = d_model
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scale (B, T, D) by sqrt(D); also encode the distances, (1, 2T - 1, D)."""
        encoding = self.position_encoding(x.shape[1], x.device).to(x.dtype)
        return self.dropout(x * math.sqrt(self.d_model)), self.dropout(encoding)

    def position_encoding(self, n_frames: int, device: torch.device) -> Tensor:
        """Encode distances n_frames - 1 down to 1 - n_frames, (1, 2 n_frames - 1, D) float32."""
        distance = torch.arange(n_frames - 1, -n_frames, -1, device=device, dtype=torch.float32)
        even = torch.arange(0, self.d_model, 2, device=device, dtype=torch.float32)
        angle = distance.unsqueeze(1) * torch.exp(even * -(math.log(10000.0) / self.d_model))
        paired = torch.stack([angle.sin(), angle.cos()], dim=-1)  # (2T - 1, D / 2, 2)
        return paired.flatten(1).unsqueeze(0)  # sin and cos in turn
