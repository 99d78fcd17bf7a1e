"""Weight-normalised convolutions under the old parameter names `weight_g` and `weight_v`.

Published vocoder checkpoints use these names. After `remove_weight_norm()` a layer keeps the plain
`weight` alone, which is what inference wants: nothing to recompute in each call.
Source: Salimans and Kingma, "Weight normalization" (arXiv 1602.07868), section 2.
"""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

_NEWER_NAMES = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}


class _WeightNorm(nn.Module):
    """Parameters bias, weight_g (d0, 1, 1), weight_v (d0, d1, k); the norm is that of each row."""

    weight_g: nn.Parameter | None
    weight_v: nn.Parameter | None

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias.detach().clone())
        self.weight_g = nn.Parameter(weight.detach().norm(dim=(1, 2), keepdim=True))
        self.weight_v = nn.Parameter(weight.detach().clone())
        self.register_parameter("weight", None)

    def normalised_weight(self) -> Tensor:
        """The weight that the convolution uses, (d0, d1, k)."""
        if self.weight_g is None or self.weight_v is None:
            weight = self.weight
            if weight is None:
                raise RuntimeError("a weight-normalised layer has neither weight_g nor weight")
            return weight
        return self.weight_v * (self.weight_g / self.weight_v.norm(dim=(1, 2), keepdim=True))

    def remove_weight_norm(self) -> None:
        """Replace weight_g and weight_v by the plain weight; a second call does nothing."""
        if self.weight_g is not None:
            fixed = self.normalised_weight().detach().clone()
            is_trained = self.weight_g.requires_grad
            self.weight_g = None
            self.weight_v = None
            self.weight = nn.Parameter(fixed, requires_grad=is_trained)


class WeightNormConv1d(_WeightNorm):
    """`nn.Conv1d` with weight normalisation: (B, in, T) to (B, out, T')."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        padding: int = 0,
        dilation: int = 1,
    ) -> None:
        plain = nn.Conv1d(in_channels, out_channels, kernel_size)
        if plain.bias is None:
            raise RuntimeError("convolution without bias")
        super().__init__(plain.weight, plain.bias)
        self.padding, self.dilation = padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, in, T)."""
        weight = self.normalised_weight()
        return functional.conv1d(x, weight, self.bias, padding=self.padding, dilation=self.dilation)


class WeightNormConvTranspose1d(_WeightNorm):
    """`nn.ConvTranspose1d` with weight normalisation: (B, in, T) to (B, out, T * stride)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int, padding: int
    ) -> None:
        plain = nn.ConvTranspose1d(in_channels, out_channels, kernel_size, stride)
        if plain.bias is None:
            raise RuntimeError("convolution without bias")
        super().__init__(plain.weight, plain.bias)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, in, T)."""
        weight = self.normalised_weight()
        return functional.conv_transpose1d(
            x, weight, self.bias, stride=self.stride, padding=self.padding
        )


def remove_weight_norm(module: nn.Module) -> None:
    """Remove weight normalisation from every layer of `module`."""
    for layer in module.modules():
        if isinstance(layer, _WeightNorm):
            layer.remove_weight_norm()


def use_older_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename keys of torch's newer weight normalisation to `weight_g` and `weight_v`."""
    renamed = {}
    for key, value in state.items():
        for newer, older in _NEWER_NAMES.items():
            key = key.removesuffix(newer) + older if key.endswith(newer) else key
        renamed[key] = value
    return renamed
