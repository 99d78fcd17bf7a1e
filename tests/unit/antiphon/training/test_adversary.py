"""The vocoder's opponent: it learns to tell, its judgement reaches the vocoder and only it."""

import copy
from dataclasses import replace

import pytest
import torch

from antiphon.errors import CheckpointError, ConfigError
from antiphon.training.adversary import (
    AdversarialConfig,
    Adversary,
    adversarial_loss,
    discriminator_loss,
    feature_matching,
    share_right,
)

SMALL = AdversarialConfig(
    periods=(2, 3), period_channels=(8, 8), spectrum_n_ffts=(128,), spectrum_channels=4
)


def tone_and_noise(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tones of random pitch and white noise, (4, 1024) each."""
    generator = torch.Generator().manual_seed(seed)
    step = 0.05 + 0.2 * torch.rand(4, 1, generator=generator)
    tone = 0.3 * torch.sin(step * torch.arange(1024))
    return tone, 0.2 * torch.randn(4, 1024, generator=generator)


def test_it_learns_to_tell_a_tone_from_noise() -> None:
    adversary = Adversary(replace(SMALL, discriminator_learning_rate=2e-2))
    losses = [adversary.learn(*tone_and_noise(seed), 1.0) for seed in range(30)]
    assert float(losses[0]["discriminator"]) > 0.8
    with torch.no_grad():
        tone, noise = (adversary.model(wave) for wave in tone_and_noise(99))
    assert float(share_right(tone, noise)) > 0.9
    assert float(discriminator_loss(tone, noise)) < 0.3


def test_its_judgement_reaches_the_vocoder_and_leaves_it_alone() -> None:
    adversary = Adversary(SMALL)
    recorded, made = tone_and_noise(1)
    made.requires_grad_()
    before = copy.deepcopy(adversary.model.state_dict())
    for name in ("adversarial", "features"):
        (gradient,) = torch.autograd.grad(adversary.oppose(recorded, made)[name], made)
        assert float(gradient.abs().max()) > 0
    sum(adversary.oppose(recorded, made).values()).backward()
    assert all(parameter.grad is None for parameter in adversary.model.parameters())
    assert all(parameter.requires_grad for parameter in adversary.model.parameters())
    after = adversary.model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_its_lesson_does_not_reach_the_vocoder() -> None:
    recorded, made = tone_and_noise(1)
    made.requires_grad_()
    losses = Adversary(SMALL).learn(recorded, made, 1.0)
    assert made.grad is None
    assert not any(loss.requires_grad for loss in losses.values())


def test_following_its_judgement_fools_it() -> None:
    adversary = Adversary(replace(SMALL, discriminator_learning_rate=2e-2))
    for seed in range(20):
        adversary.learn(*tone_and_noise(seed), 1.0)
    recorded, made = tone_and_noise(5)
    made.requires_grad_()
    optimizer = torch.optim.Adam([made], lr=3e-2)
    losses = []
    for _ in range(30):
        loss = adversary.oppose(recorded, made)["adversarial"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.75 * losses[0]


def test_equal_signals_match() -> None:
    adversary = Adversary(SMALL)
    tone, noise = tone_and_noise(1)
    with torch.no_grad():
        verdicts = adversary.model(tone)
        assert float(feature_matching(verdicts, verdicts)) == 0.0
        assert float(feature_matching(verdicts, adversary.model(noise))) > 0.1


def test_perfect_scores_cost_nothing() -> None:
    real = Adversary(SMALL).model(tone_and_noise(1)[0])
    ones = [replace(verdict, scores=torch.ones_like(verdict.scores)) for verdict in real]
    zeros = [replace(verdict, scores=torch.zeros_like(verdict.scores)) for verdict in real]
    assert float(discriminator_loss(ones, zeros)) == 0.0
    assert float(discriminator_loss(zeros, ones)) == 2.0
    assert float(adversarial_loss(ones)) == 0.0
    assert float(share_right(ones, zeros)) == 1.0
    assert float(share_right(zeros, ones)) == 0.0


@pytest.mark.parametrize(
    ("fraction", "share"), [(0.0, None), (0.69, None), (0.7, 0.0), (0.75, 0.5), (0.9, 1.0)]
)
def test_it_comes_late_and_grows(fraction: float, share: float | None) -> None:
    config = AdversarialConfig(adversarial_from=0.7, adversarial_ramp=0.1)
    got = config.adversarial_share(fraction)
    assert got == (None if share is None else pytest.approx(share))


def test_one_leaves_it_out_and_no_ramp_is_a_step() -> None:
    assert AdversarialConfig(adversarial_from=1.0).adversarial_share(1.0) is None
    config = AdversarialConfig(adversarial_from=0.5, adversarial_ramp=0.0)
    assert config.adversarial_share(0.6) == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"periods": (0,)},
        {"period_channels": ()},
        {"spectrum_channels": 0},
        {"periods": (), "spectrum_n_ffts": ()},
        {"adversarial_from": -0.1},
        {"feature_weight": -1.0},
        {"adversarial_ramp": -0.1},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Adversary(replace(SMALL, **wrong))


def test_other_sizes_are_refused() -> None:
    state = Adversary(SMALL).state()
    with pytest.raises(CheckpointError, match="other sizes"):
        Adversary(replace(SMALL, spectrum_channels=5)).load_state(state)
    with pytest.raises(CheckpointError, match="other sizes"):
        Adversary(replace(SMALL, periods=(2,))).load_state(state)
