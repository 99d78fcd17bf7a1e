"""Choosing the next token from logits: temperature, top-k, top-p, with a generator of the request.

Knows nothing of models or requests. Source of top-p: Holtzman et al. 2020, section 3.1.
"""

import math

import torch
from torch import Tensor

from antiphon.engine.base import SamplingParams
from antiphon.errors import ConfigError, EngineError

GREEDY_BELOW = 1e-5
"""Temperatures below this one choose the likeliest token."""

N_CANDIDATES = 512
"""Tokens sorted first for top-p; the whole vocabulary follows only if they do not hold the mass."""

MAX_SEED = 2**63 - 1


def check_sampling(sampling: SamplingParams) -> None:
    """Refuse values that no token can be chosen with.

    Raises:
        ConfigError: Naming the value and what it should be.
    """
    temperature, top_p = sampling.temperature, sampling.top_p
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ConfigError(f"temperature {temperature} must be 0 (greedy) or a number above it")
    if not 0 < top_p <= 1:
        raise ConfigError(f"top_p {top_p} must be above 0 and at most 1")
    if sampling.top_k < 0:
        raise ConfigError(f"top_k {sampling.top_k} must be 0 (all tokens) or above it")
    if sampling.max_new_tokens < 1:
        raise ConfigError(f"max_new_tokens {sampling.max_new_tokens} must be at least 1")
    if sampling.seed is not None and not 0 <= sampling.seed <= MAX_SEED:
        raise ConfigError(f"seed {sampling.seed} must lie between 0 and 2^63 - 1")
    allowed = sampling.allowed_token_ids
    if allowed is not None and (not allowed or min(allowed) < 0):
        raise ConfigError("allowed_token_ids must be ids from 0 up, at least one, or be left out")


class Sampler:
    """Chooses the tokens of one request.

    Its generator belongs to the request, so that a seed gives the same reply whatever else runs.
    """

    def __init__(self, sampling: SamplingParams, device: torch.device) -> None:
        """Seed the generator of one request.

        Args:
            sampling: Checked values (see `check_sampling`).
            device: Where the logits will lie.
        """
        self._sampling = sampling
        allowed = sampling.allowed_token_ids
        self._allowed = None if allowed is None else torch.tensor(allowed, device=device)
        self._generator = torch.Generator(device=device)
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    def sample(self, logits: Tensor) -> int:
        """Choose one token.

        Args:
            logits: Scores of the next token, (V,), any float type.

        Returns:
            A token id in [0, V).

        Raises:
            EngineError: If no score of an allowed token is a finite number.
        """
        scores = clean_scores(logits if self._allowed is None else keep_only(logits, self._allowed))
        if self._sampling.temperature < GREEDY_BELOW:
            return int(scores.argmax())
        # The largest score becomes 0 first: no temperature can then make it overflow.
        scores = (scores - scores.max()) / self._sampling.temperature
        probabilities = torch.softmax(scores, dim=-1)  # (V,)
        kept, ids = keep_likeliest(probabilities, self._sampling.top_k, self._sampling.top_p)
        choice = torch.multinomial(kept, 1, generator=self._generator)
        return int(choice if ids is None else ids[choice])


def keep_only(logits: Tensor, allowed: Tensor) -> Tensor:
    """Give all tokens but the allowed ones (n,) a score of -inf; logits are (V,)."""
    return torch.full_like(logits, -math.inf).index_copy(0, allowed, logits[allowed])


def clean_scores(logits: Tensor) -> Tensor:
    """Turn logits (V,) into float32 scores in which NaN and infinities cannot do harm.

    Raises:
        EngineError: If no score is a finite number.
    """
    scores = logits.float()
    finite = torch.isfinite(scores)
    if bool(finite.all()):
        return scores
    if not bool(finite.any()):
        raise EngineError(
            "the model gave no finite score for any token; its weights or number format are at "
            "fault, try another dtype"
        )
    return scores.masked_fill(~finite, -math.inf)


def keep_likeliest(probabilities: Tensor, top_k: int, top_p: float) -> tuple[Tensor, Tensor | None]:
    """Keep the `top_k` likeliest tokens (0: all), of these the smallest set that holds `top_p`.

    Args:
        probabilities: (V,), sum 1.
        top_k: Most tokens to keep; 0 keeps all.
        top_p: Mass to keep, a share of what `top_k` left.

    Returns:
        Weights (n,) and their ids (n,); ids are None where all V are kept.
    """
    size = probabilities.shape[-1]
    limit = min(top_k, size) if top_k else size
    if limit == size and top_p >= 1:
        return probabilities, None
    if top_k:
        kept, ids = torch.topk(probabilities, limit)
        return cut_tail(kept, top_p * float(kept.sum())), ids
    kept, ids = torch.topk(probabilities, min(N_CANDIDATES, size))
    if float(kept.sum()) < top_p:
        kept, ids = torch.sort(probabilities, descending=True)
    return cut_tail(kept, top_p), ids


def cut_tail(kept: Tensor, mass: float) -> Tensor:
    """Zero sorted probabilities (n,) after the first ones that reach `mass`; keeps at least one."""
    before = kept.cumsum(-1) - kept
    cut = before >= mass
    cut[0] = False
    return kept.masked_fill(cut, 0.0)
