"""The solver and the loss of flow matching on estimators whose answers are known."""

import pytest
import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError
from cosyvoice.flow.flow_matching import ConditionalCFM
from cosyvoice.flow.solving import Solving
from matcha.models.components.flow_matching import FlowMatchingOptions, warp_time


class Spy(nn.Module):
    """Answers with mu and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor, Tensor | None, Tensor]] = []

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        mu: Tensor,
        t: Tensor,
        spks: Tensor | None,
        cond: Tensor | None,
    ) -> Tensor:
        self.calls.append((x, mask, t))
        return mu


def solver(guidance: float = 0.0, **options: object) -> ConditionalCFM:
    values = {"inference_cfg_rate": guidance, **options}
    return ConditionalCFM(240, FlowMatchingOptions(**values), estimator=Spy())  # type: ignore[arg-type]


def test_constant_velocity_is_followed_to_its_end() -> None:
    mu, noise = torch.full((2, 80, 5), 3.0), torch.ones(2, 80, 5)
    got = solver()(mu, torch.ones(2, 1, 5), 7, noise=noise)
    assert torch.allclose(got, torch.full((2, 80, 5), 4.0), atol=1e-5)


def test_guidance_is_one_batch_of_two_a_step() -> None:
    cfm = solver(0.7)
    mu = torch.ones(1, 80, 5)
    got = cfm(mu, torch.ones(1, 1, 5), 4, noise=torch.zeros(1, 80, 5))
    assert torch.allclose(got, torch.full((1, 80, 5), 1.7), atol=1e-5)  # 1 + 0.7 * (1 - 0)
    assert [call[0].shape[0] for call in cfm.estimator.calls] == [2] * 4


@pytest.mark.parametrize(
    ("solving", "sizes"),
    [
        (Solving(4, guided_steps=2), [2, 2, 1, 1]),
        (Solving(3, guided_steps=0), [1, 1, 1]),
        (Solving(2, 1, "midpoint"), [2, 2, 1, 1]),
    ],
)
def test_guidance_ends_when_asked(solving: Solving, sizes: list[int]) -> None:
    cfm = solver(0.7)
    cfm(torch.ones(1, 80, 5), torch.ones(1, 1, 5), solving, noise=torch.zeros(1, 80, 5))
    assert [call[0].shape[0] for call in cfm.estimator.calls] == sizes


def test_midpoint_is_exact_where_the_velocity_grows_with_time() -> None:
    class Growing(nn.Module):
        def forward(self, x: Tensor, mask: None, mu: Tensor, t: Tensor, *others: Tensor) -> Tensor:
            return 2 * t * mu

    cfm = ConditionalCFM(240, FlowMatchingOptions(inference_cfg_rate=0.0), estimator=Growing())
    ones, mask = torch.ones(1, 80, 5), torch.ones(1, 1, 5)
    got = {s: cfm(ones, mask, Solving(2, solver=s), noise=0 * ones) for s in ("euler", "midpoint")}
    assert torch.allclose(got["midpoint"], ones, atol=1e-6)
    assert not torch.allclose(got["euler"], ones, atol=0.1)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"n_timesteps": 0}, "n_timesteps 0"),
        ({"n_timesteps": 2.5}, "n_timesteps 2.5"),
        ({"n_timesteps": True}, "n_timesteps True"),
        ({"n_timesteps": 4, "guided_steps": 5}, "guided_steps 5"),
        ({"guided_steps": -1}, "guided_steps -1"),
        ({"solver": "heun"}, "heun"),
        ({"start_at": 1.0}, "start_at 1.0"),
        ({"start_at": -0.1}, "start_at -0.1"),
        ({"start_at": "early"}, "start_at 'early'"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"temperature": True}, "temperature True"),
        ({"contrast": -0.1}, "contrast -0.1"),
        ({"contrast": float("inf")}, "contrast inf"),
    ],
)
def test_what_cannot_be_solved_is_refused(values: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Solving(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheduler", ["cosine", "linear"])
def test_it_may_start_later_from_the_encoders_mel(scheduler: str) -> None:
    cfm = solver(t_scheduler=scheduler)
    mu, noise = torch.full((1, 80, 5), -4.0), torch.randn(1, 80, 5)
    solving = Solving(3, start_at=0.3, temperature=0.5)
    got = cfm(mu, torch.ones(1, 1, 5), solving, noise=noise)
    start = 0.7 * 0.5 * noise + 0.3 * mu
    torch.testing.assert_close(cfm.estimator.calls[0][0], start)
    torch.testing.assert_close(got, start + 0.7 * mu)  # the velocity is mu, for the time left
    times = [float(call[2]) for call in cfm.estimator.calls]
    assert times[0] == pytest.approx(0.3)
    assert len(times) == 3
    ends = [*times[1:], 1.0]
    steps = [end - begin for begin, end in zip(times, ends, strict=True)]
    assert steps == pytest.approx(sorted(steps))
    assert (steps[0] == pytest.approx(steps[-1])) == (scheduler == "linear")


def test_mask_is_given_only_where_there_is_padding() -> None:
    cfm = solver(0.7)
    mu, mask = torch.ones(2, 80, 5), torch.ones(2, 1, 5)
    cfm(mu, mask, 1, noise=mu)
    mask[1, :, 3:] = 0
    cfm(mu, mask, 1, noise=mu)
    assert cfm.estimator.calls[0][1] is None
    assert torch.equal(cfm.estimator.calls[1][1], torch.cat([mask, mask]))


def test_times_follow_the_cosine() -> None:
    cfm = solver()
    cfm(torch.ones(1, 80, 5), torch.ones(1, 1, 5), 10, noise=torch.ones(1, 80, 5))
    times = torch.stack([call[2] for call in cfm.estimator.calls])
    assert torch.allclose(times, 1 - torch.cos(torch.linspace(0, 1, 11)[:-1] * torch.pi / 2))
    assert torch.equal(warp_time(times, "linear"), times)


def test_loss_is_zero_for_the_true_velocity() -> None:
    class Perfect(nn.Module):
        def forward(
            self, x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor
        ) -> Tensor:
            return (data - x) / (1 - t.view(-1, 1, 1))

    data = torch.randn(3, 80, 9, generator=torch.Generator().manual_seed(1))
    options = FlowMatchingOptions(sigma_min=0.0, training_cfg_rate=0.0)
    cfm = ConditionalCFM(240, options, estimator=Perfect())
    mask = torch.ones(3, 1, 9)
    generator = torch.Generator().manual_seed(2)
    loss, _ = cfm.compute_loss(data, mask, data, generator=generator)
    assert float(loss) < 1e-6


def test_loss_counts_only_what_the_mask_says() -> None:
    cfm = solver(training_cfg_rate=0.0)
    data, mask = torch.zeros(1, 80, 8), torch.ones(1, 1, 8)
    counted = mask.clone()
    counted[:, :, 4:] = 0
    mu = torch.zeros(1, 80, 8)
    mu[:, :, 4:] = 100.0
    generators = [torch.Generator().manual_seed(2) for _ in range(2)]
    part, _ = cfm.compute_loss(data, mask, mu, loss_mask=counted, generator=generators[0])
    whole, _ = cfm.compute_loss(data, mask, mu, generator=generators[1])
    assert float(part) < 2 < float(whole)


def test_other_solvers_are_refused() -> None:
    with pytest.raises(ConfigError, match="heun"):
        solver(solver="heun")


def test_another_voice_begins_nearly_in_noise() -> None:
    usual = Solving(2, 2, start_at=0.5, temperature=0.2, contrast=0.3)
    assert usual.for_other_voice() == Solving(4, 4, start_at=0.1, temperature=0.5, contrast=0.3)
    assert Solving().for_other_voice() == Solving()
