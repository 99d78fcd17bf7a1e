"""Packed matrices: the plain product, and the same bits for a row in every company."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from antiphon.engine.glm_network import join_linears
from antiphon.engine.packed_linear import can_pack, make_product

SIZES = [(512, 256), (1408, 256), (256, 704), (3021, 256), (5, 8)]


def random_matrix(size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(size[0])
    return tuple(
        torch.randn(shape, generator=generator) for shape in (size, (size[0],), (128, size[1]))
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
def test_it_is_the_plain_product(size: tuple[int, int], *, is_packed: bool, has_bias: bool) -> None:
    weight, bias, x = random_matrix(size)
    given = bias if has_bias else None
    product = make_product(weight, given, is_packed=is_packed)
    torch.testing.assert_close(product(x), F.linear(x, weight, given), atol=1e-3, rtol=1e-4)


@pytest.mark.skipif(
    not can_pack(torch.zeros(1, 1)),
    reason="needs a torch built with oneDNN, as the wheels for x86-64 are",
)
@pytest.mark.parametrize("size", SIZES)
def test_a_row_has_the_same_bits_among_any_number_of_rows(size: tuple[int, int]) -> None:
    weight, bias, x = random_matrix(size)
    product = make_product(weight, bias, is_packed=True)
    whole = product(x)
    for n_rows in (1, 2, 3, 4, 5, 8, 12, 16, 20, 64, 100):
        for start in (0, 7, 128 - n_rows):
            rows = slice(start, start + n_rows)
            assert torch.equal(product(x[rows].contiguous()), whole[rows]), f"{n_rows} rows"


def test_other_types_and_devices_are_not_packed() -> None:
    assert not can_pack(torch.zeros(4, 4, dtype=torch.bfloat16))
    assert not can_pack(torch.zeros(4, 4, device="meta"))


@pytest.mark.parametrize("has_bias", [False, True])
def test_joined_layers_hold_their_weights_once(*, has_bias: bool) -> None:
    layers = [nn.Linear(8, n, bias=has_bias) for n in (8, 4, 4)]
    x = torch.randn(3, 8)
    expected = torch.cat([layer(x) for layer in layers], dim=-1)
    joined = join_linears(layers, is_packed=False)
    torch.testing.assert_close(joined(x), expected)
    storages = {layer.weight.untyped_storage().data_ptr() for layer in layers}
    assert len(storages) == 1
    torch.testing.assert_close(torch.cat([layer(x) for layer in layers], dim=-1), expected)


def test_layers_of_another_kind_are_called_one_by_one() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    layers = [nn.Linear(8, 8), Doubled(8, 4)]
    x = torch.randn(3, 8)
    joined = join_linears(layers, is_packed=True)
    torch.testing.assert_close(joined(x), torch.cat([layer(x) for layer in layers], dim=-1))
