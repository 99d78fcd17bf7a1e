"""The vocoder's parts without reference numbers."""

import math

import pytest
import torch

from cosyvoice.hifigan.f0_predictor import ConvRNNF0Predictor
from cosyvoice.hifigan.generator import HiFTGenerator, Snake
from cosyvoice.hifigan.source import SineGen, SourceDraws, draw_source
from cosyvoice.hifigan.weight_norm import (
    WeightNormConv1d,
    WeightNormConvTranspose1d,
    use_older_names,
)


def test_weight_norm_is_torchs_own() -> None:
    ours = WeightNormConv1d(3, 5, 3, padding=2, dilation=2)
    plain = torch.nn.Conv1d(3, 5, 3, padding=2, dilation=2)
    theirs = torch.nn.utils.parametrizations.weight_norm(plain)
    theirs.load_state_dict(
        {
            "bias": ours.bias,
            "parametrizations.weight.original0": ours.weight_g * 2,
            "parametrizations.weight.original1": ours.weight_v,
        }
    )
    state = use_older_names(theirs.state_dict())
    ours.load_state_dict(state)
    x = torch.randn(2, 3, 11, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)


@pytest.mark.parametrize("removals", [1, 2])
def test_removal_changes_no_output(removals: int) -> None:
    layer = WeightNormConvTranspose1d(4, 3, 8, stride=4, padding=2)
    x = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(1))
    before = layer(x)
    for _ in range(removals):
        layer.remove_weight_norm()
    assert torch.allclose(layer(x), before, atol=1e-6)
    assert set(layer.state_dict()) == {"bias", "weight"}


def test_snake_is_its_formula() -> None:
    snake = Snake(2)
    torch.nn.init.constant_(snake.alpha, 0.5)
    x = torch.linspace(-3, 3, 10).reshape(1, 2, 5)
    assert torch.allclose(snake(x), x + 2 * torch.sin(0.5 * x) ** 2, atol=1e-6)


def test_sine_has_its_frequency() -> None:
    sine = SineGen(8000, harmonic_num=1, noise_std=0.0)
    f0 = torch.full((1, 1, 8000), 100.0)
    wave = sine(f0, draw_source(1, 2, 8000, torch.Generator().manual_seed(1)))
    peaks = torch.fft.rfft(wave[0]).abs().argmax(-1)
    assert peaks.tolist() == [100, 200]
    assert float(wave.abs().max()) == pytest.approx(0.1, abs=1e-3)


def test_unvoiced_is_noise_alone() -> None:
    sine = SineGen(8000, voiced_threshold=10)
    draws = SourceDraws(torch.zeros(1, 1, 1), torch.ones(1, 1, 16))
    wave = sine(torch.full((1, 1, 16), 5.0), draws)
    assert torch.allclose(wave, torch.full((1, 1, 16), 0.1 / 3))


def test_first_phase_counts_as_zero() -> None:
    sine = SineGen(8000, noise_std=0.0)
    f0 = torch.full((1, 1, 4), 2000.0)
    wave = sine(f0, SourceDraws(torch.full((1, 1, 1), 2.0), torch.zeros(1, 1, 4)))
    assert torch.allclose(wave[0, 0], torch.tensor([0.1, 0.0, -0.1, 0.0]), atol=1e-6)


def test_cycles_go_on_from_a_start() -> None:
    sine = SineGen(8000, harmonic_num=2)
    f0 = torch.rand(1, 1, 100, generator=torch.Generator().manual_seed(2)).double() * 300
    whole = sine.harmonic_cycles(f0)
    first = sine.harmonic_cycles(f0[:, :, :40])
    second = sine.harmonic_cycles(f0[:, :, 40:], first[:, :, -1:])
    joined = torch.cat([first, second], dim=2)
    assert float(torch.sin(math.pi * (joined - whole)).abs().max()) < 1e-9


def test_draws_come_from_the_generator() -> None:
    first, again = (draw_source(1, 3, 50, torch.Generator().manual_seed(9)) for _ in range(2))
    assert torch.equal(first.noise, again.noise)
    assert float(first.phase.abs().max()) <= math.pi


@pytest.mark.parametrize("n_frames", [1, 2, 7])
def test_a_frame_is_256_samples(n_frames: int) -> None:
    model = HiFTGenerator(base_channels=8, f0_predictor=ConvRNNF0Predictor(cond_channels=4)).eval()
    speech, source = model.inference(torch.zeros(1, 80, n_frames))
    assert speech.shape == (1, 256 * n_frames)
    assert source.shape == (1, 1, 256 * n_frames)
    assert float(speech.abs().max()) <= 0.99
