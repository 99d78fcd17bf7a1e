"""The velocity of one solution, with or without guidance. Knows no steps.

Source: Ho and Salimans, "Classifier-free diffusion guidance" (arXiv 2207.12598).
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from cosyvoice.flow.decoder import ConditionalDecoder, Prepared


@dataclass(frozen=True)
class FlowConditions:
    """What a mel is drawn under.

    Attributes:
        mask: (B, 1, T), 1 at valid frames; None if no frame is padding.
        mu: Encoded tokens at the mel rate, (B, C, T).
        spks: Speaker vectors, (B, D).
        cond: Prompt mel, (B, C, T).
    """

    mask: Tensor | None
    mu: Tensor
    spks: Tensor | None
    cond: Tensor | None

    def with_free(self) -> "FlowConditions":
        """Append the same items without conditions: (2B, ...)."""
        mask = None if self.mask is None else torch.cat([self.mask, self.mask])
        free = (with_zeros(each) for each in (self.mu, self.spks, self.cond))
        mu, spks, cond = free
        assert mu is not None
        return FlowConditions(mask, mu, spks, cond)


class GuidedVelocity:
    """Predicts velocities under fixed conditions; what they alone decide is computed once.

    Args:
        estimator: A `ConditionalDecoder`, or any (x, mask, mu, t, spks, cond) -> (B, C, T).
        conditions: Conditions of B items.
        rate: Strength of guidance; 0 for none.
    """

    def __init__(self, estimator: nn.Module, conditions: FlowConditions, rate: float) -> None:
        self._estimator, self._alone, self._rate = estimator, conditions, rate

    def __call__(self, x: Tensor, t: Tensor, is_guided: bool) -> Tensor:
        """Predict at `x` (B, C, T) and time `t`, a scalar; with guidance in one batch of 2B."""
        if not (is_guided and self._rate > 0):
            return self._predict(x, t, is_doubled=False)
        conditional, free = self._predict(x, t, is_doubled=True).chunk(2)
        return conditional + self._rate * (conditional - free)

    @cached_property
    def _doubled(self) -> FlowConditions:
        return self._alone.with_free()

    @cached_property
    def _prepared_alone(self) -> Prepared:
        return self._prepare(self._alone)

    @cached_property
    def _prepared_doubled(self) -> Prepared:
        return self._prepare(self._doubled)

    def _prepare(self, given: FlowConditions) -> Prepared:
        assert isinstance(self._estimator, ConditionalDecoder)
        return self._estimator.prepare(given.mask, given.mu, given.spks, given.cond)

    def _predict(self, x: Tensor, t: Tensor, is_doubled: bool) -> Tensor:
        """Run the estimator once, on B or 2B items."""
        if isinstance(self._estimator, ConditionalDecoder):
            prepared = self._prepared_doubled if is_doubled else self._prepared_alone
            time_emb = self._estimator.embed_times(t, x.dtype)
            return self._estimator.velocity(x, time_emb, prepared)
        given = self._doubled if is_doubled else self._alone
        batch = torch.cat([x, x]) if is_doubled else x
        velocity: Tensor = self._estimator(batch, given.mask, given.mu, t, given.spks, given.cond)
        return velocity


def with_zeros(x: Tensor | None) -> Tensor | None:
    """Append zeros along the batch, (2B, ...); nothing to nothing."""
    return None if x is None else torch.cat([x, torch.zeros_like(x)])
