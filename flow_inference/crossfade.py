"""Arithmetic between tokens, mel frames and samples, and the fade between two blocks."""

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor


@dataclass(frozen=True)
class FrameClock:
    """Counts mel frames of tokens.

    Attributes:
        token_rate: Tokens a second.
        sample_rate: Samples a second.
        hop_length: Samples a mel frame.
    """

    token_rate: float = 12.5
    sample_rate: int = 22_050
    hop_length: int = 256

    def frames(self, n_tokens: int) -> int:
        """Mel frames of the first `n_tokens` tokens of a reply, rounded down once.

        Blocks take the difference of two such counts, so that rounding never adds up.
        """
        rate = Fraction(self.sample_rate, self.hop_length) / Fraction(self.token_rate)
        return n_tokens * rate.numerator // rate.denominator

    def samples(self, n_tokens: int) -> int:
        """Samples of the first `n_tokens` tokens."""
        return self.frames(n_tokens) * self.hop_length


def fade_in_weights(n_frames: int) -> Tensor:
    """Rising weights strictly between 0 and 1, (n_frames,)."""
    return torch.arange(1, n_frames + 1, dtype=torch.float32) / (n_frames + 1)


def crossfade(old: Tensor, new: Tensor) -> Tensor:
    """Fade from the frames of `old` into the first frames of `new`.

    Args:
        old: (C, n), what was held back.
        new: (C, m) with m >= n, the same time and later.

    Returns:
        (C, m); `new` itself is not changed.
    """
    n = old.shape[-1]
    weights = fade_in_weights(n).to(new)
    mixed = old * (1 - weights) + new[..., :n] * weights
    return torch.cat([mixed, new[..., n:]], dim=-1)
