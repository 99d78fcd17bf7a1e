"""Stretches encoded tokens to the mel frame rate."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cosyvoice.utils.mask import make_valid_mask
from matcha.models.components.decoder import MaskedGroupNorm, Mish, apply_mask


def stretch(x: Tensor, x_lens: Tensor, y_lens: Tensor, n_frames: int) -> Tensor:
    """Repeat each item's own frames: nearest-neighbour interpolation from x_lens to y_lens.

    Args:
        x: (B, C, T).
        x_lens: (B,) valid input frames.
        y_lens: (B,) wanted output frames.
        n_frames: Width of the output, at least the largest of y_lens.

    Returns:
        (B, C, n_frames); frames past an item's length repeat its last one.
    """
    step = x_lens.float() / y_lens.float()
    index = (torch.arange(n_frames, device=x.device) * step.unsqueeze(1)).long()
    index = torch.minimum(index, (x_lens - 1).unsqueeze(1))  # (B, n_frames)
    return x.gather(2, index.unsqueeze(1).expand(-1, x.shape[1], -1))


class InterpolateRegulator(nn.Module):
    """Nearest-neighbour interpolation, then convolutions that smooth the steps.

    Args:
        channels: Channels C in and between.
        sampling_ratios: One convolution block for each entry; the values are not used.
        out_channels: Channels out, C if None.
        groups: Groups of the group norms.
    """

    def __init__(
        self,
        channels: int,
        sampling_ratios: Sequence[int],
        out_channels: int | None = None,
        groups: int = 1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in sampling_ratios:
            convolution = nn.Conv1d(channels, channels, 3, padding=1)
            layers += [convolution, MaskedGroupNorm(groups, channels), Mish()]
        layers.append(nn.Conv1d(channels, out_channels or channels, 1))
        self.model = nn.Sequential(*layers)

    def forward(
        self,
        x: Tensor,
        ylens: Tensor,
        xlens: Tensor | None = None,
        n_frames: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Stretch a batch.

        Args:
            x: (B, T, C).
            ylens: (B,) wanted frames.
            xlens: (B,) valid frames of x. Without it all T frames of every item are stretched to
                the longest of ylens and padding counts in the group norm, as the original does;
                with it each item comes out as it would alone.
            n_frames: Width of the output, at least the largest of ylens; None to look that up.

        Returns:
            (B, n_frames, C_out), zero past ylens; and ylens.
        """
        n_frames = int(ylens.max()) if n_frames is None else n_frames
        ylens = ylens.to(x.device)
        mask = make_valid_mask(ylens, n_frames).unsqueeze(1).to(x.dtype)  # (B, 1, n_frames)
        channels_first = x.transpose(1, 2)
        if xlens is None:
            hidden, inner_mask = (
                functional.interpolate(channels_first, size=n_frames),
                None,
            )
        else:
            hidden = stretch(channels_first, xlens.to(x.device), ylens, n_frames)
            inner_mask = mask
        for layer in self.model:
            if isinstance(layer, MaskedGroupNorm):
                hidden = layer(hidden, inner_mask)
            else:
                hidden = layer(apply_mask(hidden, inner_mask))
        return (hidden * mask).transpose(1, 2), ylens
