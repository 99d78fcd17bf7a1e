"""The U-Net treats padding as absent, unless asked to be compatible."""

import pytest
import torch
from torch import Tensor

from antiphon.errors import ConfigError
from cosyvoice.flow.decoder import ConditionalDecoder
from matcha.models.components.decoder import MaskedGroupNorm, Mish
from tests.flow_shapes import small_flow


def inputs(n_frames: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, 80, n_frames), (2, 80, n_frames), (2, 80), (2, 80, n_frames)]
    return [torch.randn(shape, generator=generator) for shape in shapes]


def largest_difference(estimator: ConditionalDecoder, n_frames: int, n_valid: int) -> float:
    x, mu, spks, cond = inputs(n_frames)
    mask = torch.ones(2, 1, n_frames)
    mask[1, :, n_valid:] = 0
    t = torch.tensor([0.3, 0.8])
    together = estimator(x, mask, mu, t, spks, cond)
    cut = slice(None), slice(None), slice(n_valid)
    alone = estimator(x[1:][cut], None, mu[1:][cut], t[1], spks[1:], cond[1:][cut])
    assert not together[1, :, n_valid:].any()
    return float((together[1:][cut] - alone).abs().max())


@torch.no_grad()
@pytest.mark.parametrize(("n_frames", "n_valid"), [(24, 16), (24, 15), (23, 16), (23, 15), (9, 1)])
def test_padding_changes_nothing(n_frames: int, n_valid: int) -> None:
    estimator = small_flow().decoder.estimator
    assert largest_difference(estimator, n_frames, n_valid) < 1e-4


@torch.no_grad()
def test_compatibility_mode_sees_padding() -> None:
    estimator = small_flow().decoder.estimator
    estimator.additive_mask_compat = True
    assert largest_difference(estimator, 24, 15) > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("n_valid", [15, 24])
def test_a_mel_under_many_conditions_is_as_one_by_one(n_valid: int) -> None:
    estimator = small_flow().decoder.estimator
    x, mu, spks, cond = inputs(24)
    mask = torch.ones(1, 1, 24)
    mask[:, :, n_valid:] = 0
    t = torch.tensor(0.3)
    given = estimator.prepare(mask.repeat(2, 1, 1), mu, spks, cond)
    together = estimator.velocity(x[:1], estimator.embed_times(t, x.dtype), given)
    for index in range(2):
        item = slice(index, index + 1)
        alone = estimator(x[:1], mask, mu[item], t, spks[item], cond[item])
        assert torch.allclose(together[item], alone, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_mish_without_gradients_is_torchs(scale: float) -> None:
    x = scale * torch.linspace(-4, 4, 1001)
    with torch.no_grad():
        assert torch.allclose(Mish()(x), torch.nn.functional.mish(x), atol=1e-6, rtol=1e-6)


def test_masked_group_norm_is_group_norm_of_the_valid_part() -> None:
    norm = MaskedGroupNorm(4, 8)
    torch.nn.init.uniform_(norm.weight)
    x = 5 + 3 * torch.randn(1, 8, 12, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(1, 1, 12)
    mask[:, :, 7:] = 0
    assert torch.allclose(norm(x, mask)[:, :, :7], norm(x[:, :, :7]), atol=1e-5)


def test_other_activations_are_refused() -> None:
    with pytest.raises(ConfigError, match="snake"):
        ConditionalDecoder(320, 80, act_fn="snake")
