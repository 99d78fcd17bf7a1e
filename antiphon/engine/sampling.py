"""Choosing next tokens from logits: temperature, top-k, top-p, each request with its own chance.

All rows of a step are chosen together, and no row's choice depends on the others.
Source of top-p: Holtzman et al. 2020, section 3.1.
"""

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import torch
from torch import Tensor

from antiphon.engine.base import SamplingParams
from antiphon.errors import ConfigError

GREEDY_BELOW = 1e-5
"""Temperatures below this one choose the likeliest token."""

N_CANDIDATES = 512
"""Tokens sorted first for top-p; where they do not hold the mass, the whole vocabulary follows."""

MAX_SEED = 2**63 - 1

NO_TOKEN, MANY_NEEDED = -1, -2
"""Marks in place of ids: no score is finite; more candidates must be looked at."""


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
    """How one request chooses its tokens: its settings and its own source of chance.

    So a seed gives the same reply whatever else runs.

    Attributes:
        sampling: Checked values (see `check_sampling`).
        allowed: The only ids to choose from, (n,); None for all.
    """

    def __init__(self, sampling: SamplingParams, device: torch.device) -> None:
        """Seed the chance of one request; `device` is where its logits will lie."""
        self.sampling = sampling
        allowed = sampling.allowed_token_ids
        self.allowed = None if allowed is None else torch.tensor(allowed, device=device)
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    @property
    def is_greedy(self) -> bool:
        """Whether it takes the likeliest token."""
        return self.sampling.temperature < GREEDY_BELOW

    @property
    def takes_all(self) -> bool:
        """Whether any token may be drawn, however unlikely."""
        return self.sampling.top_k == 0 and self.sampling.top_p >= 1

    def draw_settings(self) -> tuple[float, float, float, float]:
        """Give temperature, top-p, top-k and a fresh number in [0, 1): what one token needs."""
        chance = torch.rand(1, generator=self._generator, dtype=torch.float64).item()
        sampling = self.sampling
        return sampling.temperature, sampling.top_p, sampling.top_k, chance


def choose_tokens(logits: Tensor, samplers: Sequence[Sampler]) -> list[int | None]:
    """Choose the next token of each row; waits for the device once (see `N_CANDIDATES`).

    Args:
        logits: Scores of the next tokens, (B, V), any float type.
        samplers: One for each row.

    Returns:
        A token id in [0, V) for each row; None where no allowed token has a finite score.
    """
    scores = clean_scores(logits, samplers)
    best, chosen = scores.max(-1)
    settings = torch.zeros(0)
    kinds = {sampler.takes_all for sampler in samplers if not sampler.is_greedy}
    if kinds:
        settings = torch.tensor([each.draw_settings() for each in samplers], dtype=torch.float64)
        settings = move(settings, scores.device)
        drawn = draw(scores, settings, kinds)
        chosen = torch.where(settings[:, 0] < GREEDY_BELOW, chosen, drawn)
    ids = chosen.masked_fill(best == -math.inf, NO_TOKEN).tolist()
    for row, token_id in enumerate(ids):
        if token_id == MANY_NEEDED:
            one = slice(row, row + 1)
            probabilities = probabilities_of(scores[one], settings[one])
            ids[row] = int(draw_likely(probabilities, settings[one], scores.shape[1]))
    return [None if token_id == NO_TOKEN else token_id for token_id in ids]


def move(settings: Tensor, device: torch.device) -> Tensor:
    """Bring a small tensor to the device without waiting for what the device is doing."""
    if device.type == "cpu":
        return settings
    return settings.pin_memory().to(device, non_blocking=True)


def draw(scores: Tensor, settings: Tensor, kinds: AbstractSet[bool]) -> Tensor:
    """Draw from scores (B, V) by settings (B, 4); ids (B,), also where nothing is to be drawn.

    `kinds` are those of `Sampler.takes_all` among the rows.
    """
    probabilities = probabilities_of(scores, settings)
    chance = settings[:, 3:]
    if kinds == {True}:
        return pick(probabilities, chance)
    drawn = draw_likely(probabilities, settings, N_CANDIDATES)
    if kinds == {False}:
        return drawn
    takes_all = (settings[:, 1] >= 1) & (settings[:, 2] == 0)
    return torch.where(takes_all, pick(probabilities, chance), drawn)


def clean_scores(logits: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """Turn logits (B, V) into float32 scores: -inf for NaN, infinities and ids not allowed."""
    scores = logits.float()
    scores = scores.masked_fill(~torch.isfinite(scores), -math.inf)
    for row, sampler in enumerate(samplers):
        if sampler.allowed is not None:
            kept = scores[row, sampler.allowed]
            scores[row] = -math.inf
            scores[row, sampler.allowed] = kept
    return scores


def probabilities_of(scores: Tensor, settings: Tensor) -> Tensor:
    """Turn scores (B, V) into probabilities at the temperatures in settings (B, 4)."""
    # The largest score becomes 0 first: no temperature can then make it overflow.
    shifted = scores - scores.max(-1, keepdim=True).values
    temperature = settings[:, :1].clamp(min=GREEDY_BELOW)
    return torch.softmax(shifted / temperature.float(), dim=-1)


def draw_likely(probabilities: Tensor, settings: Tensor, n_candidates: int) -> Tensor:
    """Draw from the likeliest of (B, V) by settings (B, 4); ids (B,).

    `MANY_NEEDED` stands where that many candidates do not hold what is to be kept.
    """
    top_p, top_k, chance = settings[:, 1:2], settings[:, 2:3], settings[:, 3:]
    weights, ids, is_enough = keep_likeliest(probabilities, top_k, top_p, n_candidates)
    chosen = ids.gather(-1, pick(weights, chance)[:, None])
    return torch.where(is_enough, chosen, MANY_NEEDED)[:, 0]


def keep_likeliest(
    probabilities: Tensor, top_k: Tensor, top_p: Tensor, n_candidates: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the `top_k` likeliest tokens (0: all), of these the smallest set that holds `top_p`.

    Args:
        probabilities: (B, V), rows of sum 1.
        top_k: (B, 1), most tokens to keep; 0 keeps all.
        top_p: (B, 1), mass to keep, a share of what `top_k` left.
        n_candidates: Tokens looked at.

    Returns:
        Weights (B, K) sorted from the largest, 0 for what is cut, their ids (B, K), and (B, 1)
        whether the candidates hold all that is to be kept.
    """
    size = probabilities.shape[-1]
    kept, ids = torch.topk(probabilities, min(n_candidates, size))
    n_kept = kept.shape[-1]
    ranks = torch.arange(n_kept, device=kept.device)
    is_limited = top_k > 0
    kept = kept.masked_fill(is_limited & (ranks >= top_k), 0.0)
    mass = kept.double().cumsum(-1)
    total = mass[:, -1:]
    wanted = torch.where(is_limited, top_p * total, top_p)
    is_cut = (mass - kept >= wanted) & (ranks > 0)
    is_enough = torch.where(is_limited, top_k <= n_kept, total >= wanted) | (n_kept == size)
    return kept.masked_fill(is_cut, 0.0), ids, is_enough


def pick(weights: Tensor, chance: Tensor) -> Tensor:
    """Draw a place by weight: weights (B, K), chance (B, 1) in [0, 1) -> places (B,)."""
    mass = weights.double().cumsum(-1)
    total = mass[:, -1:]
    target = torch.minimum(chance * total, torch.nextafter(total, torch.zeros_like(total)))
    return (mass <= target).sum(-1).clamp(max=weights.shape[-1] - 1)  # NaN may lead past the end
