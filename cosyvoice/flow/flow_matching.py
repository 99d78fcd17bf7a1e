"""Flow matching from noise to mel under conditions, with classifier-free guidance.

Sources: Lipman et al. (arXiv 2210.02747); on guidance Le et al., "Voicebox" (arXiv 2306.15687).
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError
from cosyvoice.flow.guided_velocity import FlowConditions, GuidedVelocity
from cosyvoice.flow.solving import MIDPOINT, Solving
from matcha.models.components.flow_matching import BASECFM, CfmParams, unwarp_time, warp_time


class GuidedCfmParams(CfmParams, Protocol):
    """The options of guided flow matching; names are keys of config.yaml."""

    @property
    def t_scheduler(self) -> str:
        """Name of the time schedule."""

    @property
    def training_cfg_rate(self) -> float:
        """Share of training examples that see no condition."""

    @property
    def inference_cfg_rate(self) -> float:
        """Strength of guidance."""


class ConditionalCFM(BASECFM):
    """Solves from noise to mel with an estimator of the velocity; names are keys of config.yaml.

    Args:
        in_channels: Channels of mel and conditions; kept for the configuration.
        cfm_params: Options.
        n_spks: Number of speakers; kept for the configuration.
        spk_emb_dim: Width of the speaker vector.
        estimator: Predicts the velocity: (x, mask, mu, t, spks, cond) -> (B, C, T).

    Raises:
        ConfigError: If the solver is not Euler's.
    """

    def __init__(
        self,
        in_channels: int,
        cfm_params: GuidedCfmParams,
        n_spks: int = 1,
        spk_emb_dim: int = 64,
        *,
        estimator: nn.Module,
    ) -> None:
        super().__init__(in_channels, cfm_params, n_spks, spk_emb_dim)
        if self.solver != "euler":
            raise ConfigError(f"solver {self.solver!r} is not supported; expected 'euler'")
        self.t_scheduler = cfm_params.t_scheduler
        self.training_cfg_rate = cfm_params.training_cfg_rate
        self.inference_cfg_rate = cfm_params.inference_cfg_rate
        self.estimator = estimator

    @torch.inference_mode()
    def forward(
        self,
        mu: Tensor,
        mask: Tensor,
        n_timesteps: int | Solving,
        temperature: float = 1.0,
        spks: Tensor | None = None,
        cond: Tensor | None = None,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        is_padded: bool | None = None,
    ) -> Tensor:
        """Draw a mel.

        Args:
            mu: Encoded tokens at the mel rate, (B, C, T).
            mask: (B, 1, T), 1 at valid frames.
            n_timesteps: Guided Euler steps, or how else to solve.
            temperature: Factor on the noise.
            spks: Speaker vectors, (B, D).
            cond: Prompt mel, zero where it is to be filled in, (B, C, T).
            noise: Where to start, (B, C, T); drawn if None.
            generator: What draws it.
            is_padded: Whether the mask hides anything; None looks, which waits for the device.

        Returns:
            (B, C, T).
        """
        if noise is None:
            noise = draw_normal(mu, generator)
        solving = Solving(n_timesteps) if isinstance(n_timesteps, int) else n_timesteps
        hides = not bool(mask.all()) if is_padded is None else is_padded
        conditions = FlowConditions(mask if hides else None, mu, spks, cond)
        *_, mel = self.steps(noise * temperature, conditions, solving)
        return mel

    @torch.inference_mode()
    def steps(
        self, noise: Tensor, conditions: FlowConditions, solving: Solving
    ) -> Iterator[Tensor]:
        """Draw a mel step by step, so that the caller may do something else between.

        Args:
            noise: Standard normal, (B, C, T).
            conditions: What it is drawn under.
            solving: How.

        Yields:
            (B, C, T) after each step; the last is the mel.
        """
        velocity = GuidedVelocity(self.estimator, conditions, self.inference_cfg_rate)
        first = unwarp_time(solving.start_at, self.t_scheduler)
        n_times = solving.n_timesteps + 1
        t_span = torch.linspace(first, 1, n_times, device=noise.device, dtype=noise.dtype)
        x = solving.start(noise, conditions.mu)
        yield from solve(velocity, x, warp_time(t_span, self.t_scheduler), solving)

    def compute_loss(
        self,
        x1: Tensor,
        mask: Tensor,
        mu: Tensor,
        spks: Tensor | None = None,
        cond: Tensor | None = None,
        *,
        loss_mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Mean squared error of the velocity at a random time on the path to `x1`.

        Args:
            x1: Mel, (B, C, T).
            mask: (B, 1, T), 1 at valid frames.
            mu: Encoded tokens at the mel rate, (B, C, T).
            spks: Speaker vectors, (B, D).
            cond: Prompt mel, (B, C, T).
            loss_mask: (B, 1, T), 1 where errors count; `mask` if None.
            generator: Draws times, noise and which items go without conditions.

        Returns:
            The loss, a scalar, and the point on the path, (B, C, T).
        """
        shape = (x1.shape[0], 1, 1)
        t = draw_uniform(shape, x1, generator)
        t = warp_time(t, self.t_scheduler)
        noise = draw_normal(x1, generator)
        point = self.path_point(x1, noise, t)
        if self.training_cfg_rate > 0:
            kept = (draw_uniform(shape, x1, generator) > self.training_cfg_rate).to(x1.dtype)
            mu = mu * kept
            spks = None if spks is None else spks * kept.squeeze(-1)
            cond = None if cond is None else cond * kept
        frame_mask = None if bool(mask.all()) else mask
        velocity = self.estimator(point, frame_mask, mu, t.flatten(), spks, cond)
        counted = mask if loss_mask is None else loss_mask
        error = (velocity - self.path_velocity(x1, noise)).square() * counted
        return error.sum() / (counted.sum() * x1.shape[1]).clamp_min(1), point


def solve(
    velocity: GuidedVelocity, x: Tensor, t_span: Tensor, solving: Solving
) -> Iterator[Tensor]:
    """Follow the velocity from `x` (B, C, T) at t_span[0]; yields `x` at each later time."""
    for step, (start, end) in enumerate(pairwise(t_span)):
        is_guided, length = solving.is_guided(step), end - start
        slope = velocity(x, start, is_guided)
        if solving.solver == MIDPOINT:
            half = length / 2
            slope = velocity(x + half * slope, start + half, is_guided)
        x = x + length * slope
        yield x


def draw_normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw standard normal noise of the same shape on the generator's device."""
    device = like.device if generator is None else generator.device
    noise = torch.randn(like.shape, generator=generator, device=device, dtype=like.dtype)
    return noise.to(like.device)


def draw_uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers in [0, 1) of the dtype and on the device of `like`."""
    device = like.device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=device, dtype=like.dtype).to(like.device)
