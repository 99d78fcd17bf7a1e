"""Choosing next tokens from logits: temperature, top-k, top-p, each request with its own chance.

All rows of a step are chosen together, and no row's choice depends on the others.
Source of top-p: Holtzman et al. 2020, section 3.1.
"""

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from antiphon.engine.base import Interleave, SamplingParams
from antiphon.errors import ConfigError

GREEDY_BELOW = 1e-5
"""Temperatures below this one choose the likeliest token."""

N_CANDIDATES = 512
FEW_CANDIDATES = 32
"""Tokens sorted first for top-p; where they do not hold the mass, the whole vocabulary follows. On
a CPU fewer still come before: it sorts 32 of 3,000 ten times as fast as 512."""

N_CHANCES = 32
"""Random numbers that a request draws at a time."""

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
    if sampling.interleave is not None:
        check_interleave(sampling.interleave)
        codes = sampling.interleave.codes
        if allowed is not None and not any(token_id in codes for token_id in allowed):
            raise ConfigError("allowed_token_ids holds no speech token, which interleave asks for")


def check_interleave(interleave: Interleave) -> None:
    """Refuse blocks without tokens.

    Raises:
        ConfigError: Naming the number.
    """
    for name, least in (("n_text", 1), ("n_audio", 1), ("audio_0", 0), ("n_codes", 1)):
        value = getattr(interleave, name)
        if value < least:
            raise ConfigError(f"interleave.{name} {value} must be at least {least}")


def sound_ids(sampling: SamplingParams) -> list[int]:
    """List what may come in a block of sound: speech tokens and ends of a reply, if allowed."""
    if sampling.interleave is None:
        return []
    sound = {*sampling.interleave.codes, *sampling.stop_token_ids}
    allowed = sampling.allowed_token_ids
    return sorted(sound if allowed is None else sound.intersection(allowed))


Kind = Literal["greedy", "all", "likely"]
"""Take the likeliest token; draw any token; draw from the likeliest ones by top-k and top-p."""


@dataclass(frozen=True)
class Pick:
    """How one token is to be chosen.

    Attributes:
        kind: See `Kind`.
        temperature: Softmax temperature.
        top_p: Nucleus mass.
        top_k: Most candidates; 0 for all.
        chance: A random number in [0, 1).
        allowed: The only ids to choose from, (n,); None for all.
    """

    kind: Kind
    temperature: float
    top_p: float
    top_k: int
    chance: float
    allowed: Tensor | None


class Sampler:
    """How one request chooses its tokens: its settings and its own source of chance.

    So a seed gives the same reply whatever else runs, and however often a token is chosen again.
    """

    def __init__(self, sampling: SamplingParams, device: torch.device) -> None:
        """Seed the chance of one request.

        Args:
            sampling: Checked values (see `check_sampling`).
            device: Where its logits will lie.
        """
        allowed = sampling.allowed_token_ids
        self.allowed = None if allowed is None else torch.tensor(allowed, device=device)
        sound = sound_ids(sampling)
        self._sound = torch.tensor(sound, device=device) if sound else None
        self.kind = kind_of(sampling)
        self._sampling = sampling
        self._chances: list[float] = []
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    def pick(self, place: int) -> Pick:
        """Say how to choose the token with this number, from 0; always the same for a number."""
        sampling = self._sampling
        chance = 0.0 if self.kind == "greedy" else self._chance(place)
        interleave = sampling.interleave
        is_sound = interleave is not None and interleave.is_sound(place)
        return Pick(
            self.kind,
            sampling.temperature,
            sampling.top_p,
            sampling.top_k,
            chance,
            self._sound if is_sound else self.allowed,
        )

    def _chance(self, place: int) -> float:
        """Give the random number of a place."""
        while place >= len(self._chances):
            drawn = torch.rand(N_CHANCES, generator=self._generator, dtype=torch.float64)
            self._chances += drawn.tolist()
        return self._chances[place]


def kind_of(sampling: SamplingParams) -> Kind:
    """Say how tokens are chosen with these values."""
    if sampling.temperature < GREEDY_BELOW:
        return "greedy"
    return "all" if sampling.top_k == 0 and sampling.top_p >= 1 else "likely"


def choose_tokens(logits: Tensor, picks: Sequence[Pick]) -> list[int | None]:
    """Choose the next token of each row; waits for the device, mostly once (see `N_CANDIDATES`).

    Args:
        logits: Scores of the next tokens, (B, V), any float type.
        picks: One for each row.

    Returns:
        A token id in [0, V) for each row; None where no allowed token has a finite score.
    """
    scores = clean_scores(logits)
    for row, pick_ in enumerate(picks):
        if pick_.allowed is not None:
            allow_only(scores[row], pick_.allowed)
    settings = move(settings_of(picks), scores.device)
    kinds = frozenset(pick_.kind for pick_ in picks)
    vocabulary = scores.shape[1]
    on_cpu = scores.device.type == "cpu"
    first = FEW_CANDIDATES if on_cpu else N_CANDIDATES
    ids: list[int] = choose_ids(scores, settings, kinds, first).tolist()
    for row, token_id in enumerate(ids):
        one, size = slice(row, row + 1), first
        while token_id == MANY_NEEDED:
            size = N_CANDIDATES if size < N_CANDIDATES else vocabulary
            token_id = int(choose_ids(scores[one], settings[one], {"likely"}, size))
        ids[row] = token_id
    return [None if token_id == NO_TOKEN else token_id for token_id in ids]


def settings_of(picks: Sequence[Pick]) -> Tensor:
    """Put temperature, top-p, top-k and chance in a table, (B, 4) float64."""
    rows = [(each.temperature, each.top_p, each.top_k, each.chance) for each in picks]
    return torch.tensor(rows, dtype=torch.float64)


def choose_ids(
    scores: Tensor, settings: Tensor, kinds: AbstractSet[Kind], n_candidates: int
) -> Tensor:
    """Choose without waiting for the device.

    Args:
        scores: Cleaned scores, (B, V) float32.
        settings: See `settings_of`.
        kinds: Those among the rows, or more.
        n_candidates: Tokens to sort for the kind "likely".

    Returns:
        Ids (B,), with `NO_TOKEN` and `MANY_NEEDED` where none was found.
    """
    best = scores.amax(-1, keepdim=True)
    temperature, top_p, top_k = settings[:, :1], settings[:, 1:2], settings[:, 2:3]
    chosen = None
    if kinds != {"greedy"}:
        # The largest score becomes 0 first: no temperature can then make it overflow.
        softness = temperature.clamp(min=GREEDY_BELOW).float()
        probabilities = torch.softmax((scores - best) / softness, dim=-1)
    if "likely" in kinds:
        chosen = draw_likely(probabilities, settings, n_candidates)
    if "all" in kinds:
        drawn = pick(probabilities, settings[:, 3:])
        takes_all = ((top_p >= 1) & (top_k == 0))[:, 0]
        chosen = drawn if chosen is None else torch.where(takes_all, drawn, chosen)
    if "greedy" in kinds or chosen is None:
        likeliest = scores.argmax(-1)
        is_greedy = (temperature < GREEDY_BELOW)[:, 0]
        chosen = likeliest if chosen is None else torch.where(is_greedy, likeliest, chosen)
    return chosen.masked_fill(best[:, 0] == -math.inf, NO_TOKEN)


def move(settings: Tensor, device: torch.device) -> Tensor:
    """Bring a small tensor to the device without waiting for what the device is doing."""
    if device.type == "cpu":
        return settings
    return settings.pin_memory().to(device, non_blocking=True)


def clean_scores(logits: Tensor) -> Tensor:
    """Turn logits (B, V) into float32 scores of our own: -inf for NaN and infinities."""
    return torch.nan_to_num(logits.float(), nan=-math.inf, posinf=-math.inf, neginf=-math.inf)


def allow_only(scores: Tensor, allowed: Tensor) -> None:
    """Set all scores of one row, (V,), to -inf but those of some ids, (n,)."""
    kept = scores[allowed]
    scores.fill_(-math.inf)
    scores[allowed] = kept


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
