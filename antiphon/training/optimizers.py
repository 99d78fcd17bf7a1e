"""Optimizers of a training task: AdamW, or Muon for the layers' matrices beside AdamW for the rest.

Knows no model but by the names and shapes of its parameters.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import nn

from antiphon.errors import ConfigError

BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.01
MOMENTUM = 0.95


class OptimizerPair:
    """Two optimizers that step as one; has what TrainingTask needs of an optimizer."""

    def __init__(self, first: torch.optim.Optimizer, second: torch.optim.Optimizer) -> None:
        self.parts = (first, second)

    @property
    def param_groups(self) -> list[dict[str, object]]:
        """Groups of both, whose learning rates may be set."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self) -> None:
        """Drop the gradients of both."""
        for part in self.parts:
            part.zero_grad()

    def step(self) -> None:
        """Update the weights of both."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, object]:
        """What a checkpoint holds: the states of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: Mapping[str, Sequence[dict[str, object]]]) -> None:
        """Take up a checkpoint's states.

        Raises:
            KeyError: If the state is that of one optimizer.
        """
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


AnyOptimizer: TypeAlias = torch.optim.Optimizer | OptimizerPair


def layer_matrices(model: nn.Module) -> list[nn.Parameter]:
    """List the matrices that learn inside a module called `layers`."""
    return [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.ndim == 2 and "layers" in name.split(".")
    ]


def build_optimizer(
    model: nn.Module,
    learning_rate: float,
    use_muon: bool,
    betas: tuple[float, float] = BETAS,
    weight_decay: float = WEIGHT_DECAY,
) -> AnyOptimizer:
    """Build the optimizer of all parameters that learn.

    Muon (Keller Jordan 2024, https://kellerjordan.github.io/posts/muon) moves a matrix by the
    nearest orthogonal one to its averaged gradient; scaled to the size of AdamW's steps (Moonlight,
    arXiv 2502.16982) it takes the same learning rate. It gets the matrices in `layers`, AdamW keeps
    embeddings, convolutions, heads and vectors, of which the vectors do not decay.

    Args:
        model: What learns.
        learning_rate: Peak of both.
        use_muon: Whether Muon takes part.
        betas: Of AdamW.
        weight_decay: Of all that are not vectors.

    Raises:
        ConfigError: If this torch has no Muon.
    """
    matrices = layer_matrices(model) if use_muon else []
    by_muon = {id(matrix) for matrix in matrices}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in by_muon]
    groups = [
        {"params": [p for p in others if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=learning_rate, betas=betas)
    if not use_muon:
        return adamw
    if not hasattr(torch.optim, "Muon"):
        raise ConfigError(
            f"use_muon=true needs torch 2.9 or newer, this is {torch.__version__}; "
            "set use_muon=false or install the torch that requirements.txt names"
        )
    muon = torch.optim.Muon(
        matrices,
        lr=learning_rate,
        weight_decay=weight_decay,
        momentum=MOMENTUM,
        adjust_lr_fn="match_rms_adamw",
    )
    return OptimizerPair(muon, adamw)
