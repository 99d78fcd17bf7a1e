"""VectorQuantizer against plain formulas."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speech_tokenizer.quantizer import VectorQuantizer


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def quantizer(n_codes: int = 8, width: int = 4) -> VectorQuantizer:
    codes = draw(n_codes, width, seed=9)
    return VectorQuantizer(codes, torch.ones(n_codes), codes.clone())


@given(st.integers(0, 10_000), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_nearest_has_the_smallest_distance(seed: int, n_rows: int) -> None:
    codes = quantizer(n_codes=33, width=6)
    hidden = draw(n_rows, 6, seed=seed)
    distances = (hidden[:, None, :].double() - codes.codebook[None].double()).square().sum(-1)
    chosen = distances.gather(1, codes.nearest(hidden)[:, None])[:, 0]
    assert torch.all(chosen <= distances.min(dim=1).values + 1e-5)


def test_nearest_keeps_leading_shape_and_takes_many_rows() -> None:
    codes = quantizer()
    hidden = codes.codebook[torch.arange(10_000) % 8].reshape(5, 2000, 4)
    assert torch.equal(codes.nearest(hidden), (torch.arange(10_000) % 8).reshape(5, 2000))
    assert codes.nearest(torch.zeros(2, 0, 4)).shape == (2, 0)


def test_nearest_is_exact_under_autocast() -> None:
    codes = VectorQuantizer(torch.tensor([[256.0], [257.0]]), torch.ones(2), torch.zeros(2, 1))
    with torch.autocast("cpu", torch.bfloat16):
        assert codes.nearest(torch.tensor([[257.0]])).tolist() == [1]


def test_update_follows_the_formula() -> None:
    codes = quantizer(n_codes=3, width=2)
    before = codes.codebook.clone()
    hidden = torch.tensor([[1.0, 2.0], [3.0, 4.0], [-1.0, 0.0]])
    codes.update(hidden, torch.tensor([1, 1, 2]), decay=0.9)
    torch.testing.assert_close(codes.ema_count, torch.tensor([0.9, 0.9 + 0.2, 0.9 + 0.1]))
    expected = (0.9 * before[1] + 0.1 * torch.tensor([4.0, 6.0])) / 1.1
    torch.testing.assert_close(codes.codebook[1], expected)
    torch.testing.assert_close(codes.codebook[0], before[0])


def test_codes_settle_on_the_means_of_their_vectors() -> None:
    codes = quantizer(n_codes=2, width=1)
    codes.set_codes(torch.tensor([[-1.0], [1.0]]))
    hidden = torch.tensor([[-5.0], [-3.0], [7.0], [9.0]])
    for _ in range(300):
        codes.update(hidden, codes.nearest(hidden), decay=0.95)
    torch.testing.assert_close(codes.codebook, torch.tensor([[-4.0], [8.0]]))


def test_unused_codes_stay_finite_and_are_restarted_from_the_data() -> None:
    codes = quantizer(n_codes=4, width=2)
    codes.set_codes(torch.tensor([[0.0, 0.0], [50.0, 0.0], [60.0, 0.0], [70.0, 0.0]]))
    hidden = draw(16, 2)
    for _ in range(2000):
        codes.update(hidden, codes.nearest(hidden), decay=0.9)
    assert torch.isfinite(codes.codebook).all()
    assert codes.restart_dead(hidden, 0.5, torch.Generator().manual_seed(3)) == 3
    assert all(torch.any(torch.all(hidden == code, dim=1)) for code in codes.codebook[1:])
    assert codes.restart_dead(hidden, 0.5) == 0


def test_initialise_draws_different_rows() -> None:
    codes = quantizer(n_codes=8, width=4)
    codes.initialise(draw(8, 4), torch.Generator().manual_seed(0))
    assert torch.equal(codes.codebook.sort(dim=0).values, draw(8, 4).sort(dim=0).values)
    codes.initialise(draw(3, 4))  # fewer rows than codes: some repeat
    assert len(codes.codebook.unique(dim=0)) <= 3


def test_gradient_passes_straight_through() -> None:
    codes = quantizer()
    hidden = draw(5, 4).requires_grad_()
    ids = codes.nearest(hidden)
    quantized = codes.straight_through(hidden, ids)
    torch.testing.assert_close(quantized, codes.codebook[ids])
    weights = draw(5, 4, seed=2)
    (quantized * weights).sum().backward()
    torch.testing.assert_close(hidden.grad, weights)
    expected = (hidden.detach() - codes.codebook[ids]).square().mean()
    torch.testing.assert_close(codes.commitment_loss(hidden, ids).detach(), expected)
