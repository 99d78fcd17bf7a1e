"""Blocks of the U-Net that predicts the flow. A mask of None means that no frame is padding.

Source: Mehta et al., "Matcha-TTS" (arXiv 2309.03199), section 3 and figure 1.
Names are checkpoint keys.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

TIME_SCALE = 1000.0
MISH_LINEAR = 20.0
"""From here on Mish is x itself in single precision."""


class SinusoidalPosEmb(nn.Module):
    """Encodes times in [0, 1] as sines followed by cosines."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, t: Tensor) -> Tensor:
        """Encode (B,) or a scalar as (B, dim)."""
        half = self.dim // 2
        steps = torch.arange(half, device=t.device, dtype=torch.float32)
        frequency = torch.exp(steps * -(math.log(10000.0) / (half - 1)))
        angle = TIME_SCALE * t.reshape(-1, 1) * frequency
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


class TimestepEmbedding(nn.Module):
    """Two linear layers with SiLU between them."""

    def __init__(self, in_channels: int, time_embed_dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_channels, time_embed_dim)
        self.linear_2 = nn.Linear(time_embed_dim, time_embed_dim)

    def forward(self, sample: Tensor) -> Tensor:
        """Map (B, in_channels) to (B, time_embed_dim)."""
        return self.linear_2(functional.silu(self.linear_1(sample)))


class MaskedGroupNorm(nn.GroupNorm):
    """Group norm whose statistics leave out padded frames."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise (B, C, T) by its frames where `mask` (B, 1, T) is 1."""
        if mask is None:
            return super().forward(x)
        grouped = x.float().view(x.shape[0], self.num_groups, -1, x.shape[2])  # (B, G, C / G, T)
        weight = mask.unsqueeze(1).float()  # (B, 1, 1, T)
        count = weight.sum(-1, keepdim=True) * grouped.shape[2]
        mean = (grouped * weight).sum((2, 3), keepdim=True) / count
        centred = grouped - mean
        variance = (centred.square() * weight).sum((2, 3), keepdim=True) / count
        normal = (centred * torch.rsqrt(variance + self.eps)).flatten(1, 2)  # (B, C, T)
        return (normal * self.weight.unsqueeze(1) + self.bias.unsqueeze(1)).to(x.dtype)


class Mish(nn.Mish):
    """x tanh(log(1 + e^x)); without gradients on a CPU by a formula without log and tanh."""

    def forward(self, x: Tensor) -> Tensor:
        """Activate a tensor of any shape."""
        if torch.is_grad_enabled() or x.device.type != "cpu" or x.dtype != torch.float32:
            return super().forward(x)
        power = x.clamp(max=MISH_LINEAR).exp_()
        ratio = torch.addcmul(2 * power, power, power)  # (1 + e^x)^2 - 1
        return ratio.div_(ratio + 2).mul_(x)


def apply_mask(x: Tensor, mask: Tensor | None) -> Tensor:
    """Set padded frames of (B, C, T) to zero."""
    return x if mask is None else x * mask


class Block1D(nn.Module):
    """Convolution over three frames, group norm, Mish."""

    def __init__(self, dim: int, dim_out: int, groups: int = 8) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv1d(dim, dim_out, 3, padding=1),
            MaskedGroupNorm(groups, dim_out),
            Mish(),
        )

    def forward(self, x: Tensor, mask: Tensor | None, norm_mask: Tensor | None = None) -> Tensor:
        """Map (B, dim, T) to (B, dim_out, T).

        Args:
            x: Input.
            mask: (B, 1, T), 1 at valid frames.
            norm_mask: The same for the statistics of the group norm; None to count padding too.
        """
        return self.finish(self.convolution(apply_mask(x, mask)), mask, norm_mask)

    @property
    def convolution(self) -> nn.Conv1d:
        """The layer that comes first."""
        layer = self.block[0]
        assert isinstance(layer, nn.Conv1d)
        return layer

    def finish(self, hidden: Tensor, mask: Tensor | None, norm_mask: Tensor | None) -> Tensor:
        """Do what follows the convolution, (B, dim_out, T) to the same."""
        _, norm, activation = self.block
        return apply_mask(activation(norm(hidden, norm_mask)), mask)


class ResnetBlock1D(nn.Module):
    """Two blocks with the time added between them, and a residual around both."""

    def __init__(self, dim: int, dim_out: int, time_emb_dim: int, groups: int = 8) -> None:
        super().__init__()
        self.mlp = nn.Sequential(Mish(), nn.Linear(time_emb_dim, dim_out))
        self.block1 = Block1D(dim, dim_out, groups)
        self.block2 = Block1D(dim_out, dim_out, groups)
        self.res_conv = nn.Conv1d(dim, dim_out, 1)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        time_emb: Tensor,
        norm_mask: Tensor | None = None,
    ) -> Tensor:
        """Map (B, dim, T) and times (B, time_emb_dim) to (B, dim_out, T)."""
        return self.finish(*self.begin(apply_mask(x, mask)), mask, time_emb, norm_mask)

    def begin(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Do all that is linear in the input: the first convolution and the residual."""
        return self.block1.convolution(x), self.res_conv(x)

    def begin_part(self, x: Tensor, first: int, has_bias: bool) -> tuple[Tensor, Tensor]:
        """Do the share of `begin` of some channels; the shares of all add up to it.

        Args:
            x: (B, n, T), zero at padded frames.
            first: Number of the first of these channels in the whole input.
            has_bias: Add the biases; for one share alone.
        """
        layers = (self.block1.convolution, self.res_conv)
        weights = [layer.weight[:, first : first + x.shape[1]] for layer in layers]
        biases = [layer.bias if has_bias else None for layer in layers]
        return (
            functional.conv1d(x, weights[0], biases[0], padding=1),
            functional.conv1d(x, weights[1], biases[1]),
        )

    def finish(
        self,
        hidden: Tensor,
        residual: Tensor,
        mask: Tensor | None,
        time_emb: Tensor,
        norm_mask: Tensor | None = None,
    ) -> Tensor:
        """Do the rest, both from `begin`; see `forward`."""
        hidden = self.block1.finish(hidden, mask, norm_mask) + self.mlp(time_emb).unsqueeze(-1)
        return self.block2(hidden, mask, norm_mask) + residual


class Downsample1D(nn.Module):
    """Halves the frame rate: T to ceil(T / 2)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T) to (B, C, ceil(T / 2))."""
        return self.conv(x)


class Upsample1D(nn.Module):
    """Doubles the frame rate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(channels, channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T) to (B, C, 2T)."""
        return self.conv(x)
