"""Products with fixed matrices, laid out anew for the CPU's vector units where that pays.

oneDNN reads a packed matrix once, in order; for a few rows that takes half as long as MKL, which
lays it out anew each time. Packing costs the matrix's memory once more, so it is for small models.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Product = Callable[[Tensor], Tensor]
"""Gives x (N, in) times the transposed matrix, plus the bias, (N, out)."""

TYPICAL_ROWS = 16
"""Rows that the layout is chosen for; any number can be computed."""


def can_pack(weight: Tensor) -> bool:
    """Tell whether torch packs matrices of this type here: float32 on a CPU, with oneDNN."""
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def make_product(weight: Tensor, bias: Tensor | None, *, is_packed: bool) -> Product:
    """Prepare a product with a matrix (out, in); later changes of a packed one are not seen."""
    if not (is_packed and can_pack(weight)):
        return lambda x: F.linear(x, weight, bias)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), TYPICAL_ROWS)
    multiply = torch.ops.mkldnn._linear_pointwise
    return lambda x: multiply(x, packed, bias, "none", [], "")
