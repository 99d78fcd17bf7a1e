"""Vector quantization: nearest code, and the moving-average training of the codes.

Works on tensors that belong to a `WhisperVQEncoder`, so that their names in the checkpoint stay the
official ones. Source: van den Oord et al., "Neural Discrete Representation Learning", appendix A.1
(moving averages); dead-code restart as in Dhariwal et al., "Jukebox", section 3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_ROWS_AT_ONCE = 4096
_SMALLEST_COUNT = 1e-5


@dataclass(frozen=True)
class VectorQuantizer:
    """A codebook and its training statistics; the tensors are changed in place by training.

    Attributes:
        codebook: Codes, (K, d).
        ema_count: Moving average of how often each code is chosen, (K,).
        ema_weight: Moving sum of the vectors that chose each code, (K, d).
    """

    codebook: Tensor
    ema_count: Tensor
    ema_weight: Tensor

    def nearest(self, hidden: Tensor) -> Tensor:
        """Return the index of the code nearest by Euclidean distance: (..., d) -> (...) int64.

        Computed in float32 whatever the input's type, also under autocast; ties go to the lower
        index.
        """
        with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
            rows = hidden.detach().reshape(-1, hidden.shape[-1]).float()  # (N, d)
            codes = self.codebook.detach().float()
            half_norm = 0.5 * codes.square().sum(
                dim=-1
            )  # |h|^2 is the same for every code: left out
            found = [
                torch.argmin(torch.addmm(half_norm, chunk, codes.T, alpha=-1.0), dim=-1)
                for chunk in torch.split(rows, _ROWS_AT_ONCE)
            ]
        if not found:
            return torch.zeros(hidden.shape[:-1], dtype=torch.int64, device=hidden.device)
        return torch.cat(found).reshape(hidden.shape[:-1])

    def straight_through(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """Return the codes of `ids` (...); the gradient goes to `hidden` (..., d) unchanged."""
        codes = functional.embedding(ids, self.codebook.detach()).to(hidden.dtype)
        return hidden + (codes - hidden).detach()

    def commitment_loss(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """Return the mean squared distance of `hidden` (..., d) from its codes, a scalar."""
        codes = functional.embedding(ids, self.codebook.detach())
        return functional.mse_loss(hidden.float(), codes.float())

    @torch.no_grad()
    def set_codes(self, codes: Tensor) -> None:
        """Replace all codes by `codes` (K, d) and start the statistics from them."""
        self.codebook.copy_(codes)
        self.ema_weight.copy_(codes)
        self.ema_count.fill_(1.0)

    @torch.no_grad()
    def initialise(self, hidden: Tensor, generator: torch.Generator | None = None) -> None:
        """Set the codes to random rows of `hidden` (..., d), without repeats while they last."""
        rows = hidden.detach().reshape(-1, hidden.shape[-1]).float()
        self.set_codes(rows[_draw(rows.shape[0], self.codebook.shape[0], generator, rows.device)])

    @torch.no_grad()
    def update(self, hidden: Tensor, ids: Tensor, decay: float = 0.99) -> None:
        """Move each code towards the mean of the vectors that chose it.

        Args:
            hidden: Vectors of real (not padded) frames, (..., d).
            ids: Their codes, (...).
            decay: Share of the old statistics that is kept.
        """
        rows = hidden.detach().reshape(-1, hidden.shape[-1]).float()  # (N, d)
        flat = ids.reshape(-1)
        counts = torch.zeros_like(self.ema_count).index_add_(0, flat, rows.new_ones(flat.shape[0]))
        sums = torch.zeros_like(self.ema_weight).index_add_(0, flat, rows)
        self.ema_count.mul_(decay).add_(counts, alpha=1.0 - decay)
        self.ema_weight.mul_(decay).add_(sums, alpha=1.0 - decay)
        alive = (self.ema_count > _SMALLEST_COUNT).unsqueeze(-1)
        means = self.ema_weight / self.ema_count.clamp(min=_SMALLEST_COUNT).unsqueeze(-1)
        self.codebook.copy_(torch.where(alive, means, self.codebook))

    @torch.no_grad()
    def restart_dead(
        self, hidden: Tensor, threshold: float, generator: torch.Generator | None = None
    ) -> int:
        """Replace codes whose `ema_count` is below `threshold` by random rows of `hidden` (..., d).

        Returns:
            The number of codes replaced. A restarted code counts as used `max(threshold, 1)` times.
        """
        rows = hidden.detach().reshape(-1, hidden.shape[-1]).float()
        dead = torch.nonzero(self.ema_count < threshold).squeeze(-1)
        if dead.numel() == 0 or rows.shape[0] == 0:
            return 0
        fresh = rows[_draw(rows.shape[0], dead.numel(), generator, rows.device)]
        count = max(threshold, 1.0)
        self.codebook[dead] = fresh.to(self.codebook.dtype)
        self.ema_count[dead] = count
        self.ema_weight[dead] = (fresh * count).to(self.ema_weight.dtype)
        return int(dead.numel())


def _draw(
    n_rows: int, n_wanted: int, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Draw `n_wanted` of `n_rows` row numbers, without repeats while there are enough rows."""
    if n_rows >= n_wanted:
        drawn = torch.randperm(n_rows, generator=generator)[:n_wanted]
    else:
        drawn = torch.randint(n_rows, (n_wanted,), generator=generator)
    return drawn.to(device)
