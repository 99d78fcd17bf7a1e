"""Conditional flow matching with straight paths: loss, time grid, Euler solver. Knows no speech.

Source: Lipman et al., "Flow matching for generative modeling" (arXiv 2210.02747), section 4.1.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

COSINE = "cosine"


class CfmParams(Protocol):
    """The options of flow matching; names are keys of config.yaml."""

    @property
    def sigma_min(self) -> float:
        """Standard deviation left at the end of a path."""

    @property
    def solver(self) -> str:
        """Name of the solver: "euler"."""


@dataclass(frozen=True)
class FlowMatchingOptions:
    """Options with the values of the published decoder.

    Attributes:
        sigma_min: Standard deviation left at the end of a path.
        solver: "euler".
        t_scheduler: "cosine" spends more steps near the noise; anything else is linear.
        training_cfg_rate: Share of training examples that see no condition.
        inference_cfg_rate: Strength of guidance; 0 for none.
        reg_loss_type: In published configs; not used, the loss is the squared error.
    """

    sigma_min: float = 1e-6
    solver: str = "euler"
    t_scheduler: str = COSINE
    training_cfg_rate: float = 0.2
    inference_cfg_rate: float = 0.7
    reg_loss_type: str = "l1"


def warp_time(t: Tensor, scheduler: str) -> Tensor:
    """Map uniform times in [0, 1] onto the schedule."""
    return 1 - torch.cos(t * 0.5 * math.pi) if scheduler == COSINE else t


def unwarp_time(t: float, scheduler: str) -> float:
    """Find the uniform time that the schedule maps onto `t`."""
    return math.acos(1 - t) / (0.5 * math.pi) if scheduler == COSINE else t


class BASECFM(nn.Module):
    """What all flow-matching decoders share.

    Args:
        n_feats: Channels of the data.
        cfm_params: Options.
        n_spks: Number of speakers; kept for the configuration.
        spk_emb_dim: Width of the speaker vector.
    """

    def __init__(
        self,
        n_feats: int,
        cfm_params: CfmParams,
        n_spks: int = 1,
        spk_emb_dim: int = 128,
    ) -> None:
        super().__init__()
        self.n_feats, self.n_spks, self.spk_emb_dim = n_feats, n_spks, spk_emb_dim
        self.solver = cfm_params.solver
        self.sigma_min = cfm_params.sigma_min

    def path_point(self, x1: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Point at time `t` (B, 1, 1) on the straight path from noise to data, (B, C, T)."""
        return (1 - (1 - self.sigma_min) * t) * noise + t * x1

    def path_velocity(self, x1: Tensor, noise: Tensor) -> Tensor:
        """Velocity along that path, the same at all times, (B, C, T)."""
        return x1 - (1 - self.sigma_min) * noise
