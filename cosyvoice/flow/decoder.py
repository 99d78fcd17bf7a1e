"""The U-Net over time that predicts the flow from a noisy mel and its conditions.

Source: Du et al., "CosyVoice" (arXiv 2407.05407), section 2.3.
Names are those of published checkpoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError
from matcha.models.components.decoder import (
    Block1D,
    Downsample1D,
    ResnetBlock1D,
    SinusoidalPosEmb,
    TimestepEmbedding,
    Upsample1D,
    apply_mask,
)
from matcha.models.components.transformer import BasicTransformerBlock


@dataclass(frozen=True)
class LevelMasks:
    """The masks of one resolution; all None when nothing is padded.

    Attributes:
        frames: (B, 1, T), 1 at valid frames.
        norm: What the group norms get.
        attention: What the attention gets.
    """

    frames: Tensor | None
    norm: Tensor | None
    attention: Tensor | None


@dataclass(frozen=True)
class Prepared:
    """What stays the same from step to step of one solution.

    Attributes:
        mask: (B, 1, T), 1 at valid frames, or None.
        levels: The masks of all resolutions.
        hidden: What the conditions add to the first convolution, (B, C, T).
        residual: What they add to the residual beside it, (B, C, T).
    """

    mask: Tensor | None
    levels: Sequence[LevelMasks]
    hidden: Tensor
    residual: Tensor


@dataclass(frozen=True)
class Shape:
    """Dimensions shared by all blocks of a U-Net."""

    time_dim: int
    n_heads: int
    head_dim: int
    n_blocks: int
    dropout: float


class TransformerStack(nn.ModuleList):
    """Transformer blocks in a row."""

    def forward(self, x: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Map (B, T, C) to (B, T, C)."""
        for block in self:
            x = block(x, attention_mask)
        return x


class Level(nn.ModuleList):
    """A residual block, its transformer blocks and, where given, a change of the frame rate."""

    def __init__(
        self, dim_in: int, dim: int, shape: Shape, resample: nn.Module | None = None
    ) -> None:
        blocks = (
            BasicTransformerBlock(dim, shape.n_heads, shape.head_dim, shape.dropout)
            for _ in range(shape.n_blocks)
        )
        parts = [ResnetBlock1D(dim_in, dim, shape.time_dim), TransformerStack(blocks), resample]
        super().__init__(part for part in parts if part is not None)

    def forward(self, x: Tensor, masks: LevelMasks, time_emb: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C_in, T) to (B, C, T), before and after the change of rate."""
        return self.finish(self.resnet.begin(apply_mask(x, masks.frames)), masks, time_emb)

    @property
    def resnet(self) -> ResnetBlock1D:
        """The residual block."""
        block = self[0]
        assert isinstance(block, ResnetBlock1D)
        return block

    def finish(
        self, begun: tuple[Tensor, Tensor], masks: LevelMasks, time_emb: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Do the rest after the residual block's `begin`; see `forward`."""
        _, transformers, *resample = self
        hidden = self.resnet.finish(*begun, masks.frames, time_emb, masks.norm)
        hidden = transformers(hidden.transpose(1, 2), masks.attention).transpose(1, 2)
        resampled = hidden
        for change_rate in resample:
            resampled = change_rate(apply_mask(hidden, masks.frames))
        return hidden, resampled


class ConditionalDecoder(nn.Module):
    """U-Net of residual blocks and transformer blocks; names are keys of config.yaml.

    Args:
        in_channels: Channels of noisy mel, mu, speaker and prompt mel together.
        out_channels: Mel channels.
        channels: Width of each resolution, the finest first.
        dropout: Dropout in the transformer blocks.
        attention_head_dim: Width of a head.
        n_blocks: Transformer blocks after each residual block.
        num_mid_blocks: Blocks at the coarsest resolution.
        num_heads: Attention heads.
        act_fn: "gelu".
        additive_mask_compat: Treat padding as the original does: the mask is added to the
            attention scores, so that padded frames are damped and not hidden, and group norms count
            them. Only for comparison with it; an item then depends on its neighbours in the batch.

    Raises:
        ConfigError: If `act_fn` is another one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (256, 256),
        dropout: float = 0.05,
        attention_head_dim: int = 64,
        n_blocks: int = 1,
        num_mid_blocks: int = 2,
        num_heads: int = 4,
        act_fn: str = "gelu",
        additive_mask_compat: bool = False,
    ) -> None:
        super().__init__()
        if act_fn != "gelu":
            raise ConfigError(f"act_fn {act_fn!r} is not supported; expected 'gelu'")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.additive_mask_compat = additive_mask_compat
        shape = Shape(channels[0] * 4, num_heads, attention_head_dim, n_blocks, dropout)
        self.time_embeddings = SinusoidalPosEmb(in_channels)
        self.time_mlp = TimestepEmbedding(in_channels, shape.time_dim)
        self.down_blocks = nn.ModuleList()
        self.mid_blocks = nn.ModuleList()
        self.up_blocks = nn.ModuleList()
        last = len(channels) - 1
        for index, (dim_in, dim) in enumerate(pairwise([in_channels, *channels])):
            resample = same_rate(dim) if index == last else Downsample1D(dim)
            self.down_blocks.append(Level(dim_in, dim, shape, resample))
        for _ in range(num_mid_blocks):
            self.mid_blocks.append(Level(channels[-1], channels[-1], shape))
        for index, (dim_in, dim) in enumerate(pairwise([*reversed(channels), channels[0]])):
            resample = same_rate(dim) if index == last else Upsample1D(dim)
            self.up_blocks.append(Level(2 * dim_in, dim, shape, resample))
        self.final_block = Block1D(channels[0], channels[0])
        self.final_proj = nn.Conv1d(channels[0], out_channels, 1)

    def level_masks(self, mask: Tensor | None) -> list[LevelMasks]:
        """Build the masks of all resolutions, the finest first."""
        masks = []
        for _ in self.down_blocks:
            if mask is None:
                masks.append(LevelMasks(None, None, None))
                continue
            if self.additive_mask_compat:
                product = (mask.transpose(1, 2) @ mask).unsqueeze(1)  # (B, 1, T, T)
                masks.append(LevelMasks(mask, None, product))
            else:
                masks.append(LevelMasks(mask, mask, mask.bool().unsqueeze(1)))
            mask = mask[:, :, ::2]
        return masks

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        mu: Tensor,
        t: Tensor,
        spks: Tensor | None = None,
        cond: Tensor | None = None,
    ) -> Tensor:
        """Predict the velocity.

        Args:
            x: Noisy mel, (B, 80, T).
            mask: (B, 1, T), 1 at valid frames; None if no frame is padding, which is faster.
            mu: Encoded tokens at the mel rate, (B, 80, T).
            t: Times in [0, 1], (B,) or a scalar.
            spks: Speaker vectors, (B, 80).
            cond: Prompt mel, zero where it is to be filled in, (B, 80, T).

        Returns:
            (B, 80, T), zero at padded frames.
        """
        return self.velocity(x, self.embed_times(t, x.dtype), self.prepare(mask, mu, spks, cond))

    def embed_times(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Encode times (B,) or a scalar as (B or 1, time_dim)."""
        return self.time_mlp(self.time_embeddings(t).to(dtype))

    def prepare(
        self, mask: Tensor | None, mu: Tensor, spks: Tensor | None, cond: Tensor | None
    ) -> Prepared:
        """Compute once what does not depend on the noisy mel or the time; see `forward`."""
        given = apply_mask(join_conditions(mu, spks, cond), mask)
        hidden, residual = self._first_level.resnet.begin_part(given, self.out_channels, True)
        return Prepared(mask, self.level_masks(mask), hidden, residual)

    @property
    def _first_level(self) -> Level:
        level = self.down_blocks[0]
        assert isinstance(level, Level)
        return level

    def velocity(self, x: Tensor, time_emb: Tensor, given: Prepared) -> Tensor:
        """Predict the velocity under prepared conditions.

        Args:
            x: Noisy mel, (B / k, 80, T): the conditions may be k times as many, k at each mel.
            time_emb: From `embed_times`.
            given: From `prepare`.

        Returns:
            (B, 80, T), zero at padded frames.
        """
        n_each = given.hidden.shape[0] // x.shape[0]
        mask, masks = given.mask, given.levels
        x_mask = None if mask is None else mask[: x.shape[0]]
        begun = self._first_level.resnet.begin_part(apply_mask(x, x_mask), 0, False)
        hidden, residual = (part.repeat(n_each, 1, 1) for part in begun)
        sums = hidden + given.hidden, residual + given.residual
        skip, hidden = self._first_level.finish(sums, masks[0], time_emb)
        skips = [skip]
        for level, level_masks in zip(self.down_blocks[1:], masks[1:], strict=True):
            skip, hidden = level(hidden, level_masks, time_emb)
            skips.append(skip)
        for level in self.mid_blocks:
            _, hidden = level(hidden, masks[-1], time_emb)
        for level, level_masks in zip(self.up_blocks, reversed(masks), strict=True):
            skip = skips.pop()
            hidden = torch.cat([hidden[:, :, : skip.shape[-1]], skip], dim=1)  # (B, 2C, T)
            _, hidden = level(hidden, level_masks, time_emb)
        hidden = self.final_block(hidden, masks[0].frames, masks[0].norm)
        return apply_mask(self.final_proj(apply_mask(hidden, mask)), mask)


def same_rate(dim: int) -> nn.Module:
    """Make the convolution that stands in for resampling at the last level."""
    return nn.Conv1d(dim, dim, 3, padding=1)


def join_conditions(mu: Tensor, spks: Tensor | None, cond: Tensor | None) -> Tensor:
    """Stack the conditions along the channels, (B, in_channels - 80, T)."""
    parts = [mu]
    if spks is not None:
        parts.append(spks.unsqueeze(-1).expand(-1, -1, mu.shape[-1]))
    if cond is not None:
        parts.append(cond)
    return torch.cat(parts, dim=1)
