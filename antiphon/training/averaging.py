"""A model between the one that a run started from and the one that it learned.

What a run learns often costs some of what was known; a mean of both weights may keep that and most
of what is new, as long as the run stayed near. Source: Wortsman et al., "Robust fine-tuning of
zero-shot models" (arXiv 2109.01903), section 3.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from antiphon.errors import ConfigError


def check_share(share: float, start: str, written: Sequence[str], *, has_other_codes: bool) -> None:
    """Refuse a share of the start that cannot be.

    Args:
        share: Of the start's weights, from 0 to 1.
        start: Folder of what the run begins with; empty for random weights.
        written: Folders that the run writes to; `start` is read again at the end.
        has_other_codes: Whether it begins with other speech tokens than its start knew.

    Raises:
        ConfigError: If the share is out of range, or there is nothing to keep a share of.
    """
    if not 0.0 <= share < 1.0:
        raise ConfigError(f"start_share={share} is not a share: give 0 or more, and less than 1")
    if share and (not start or has_other_codes):
        reason = "knew other speech tokens" if start else "is not given"
        raise ConfigError(
            f"start_share={share} keeps a share of the weights in `start`, which {reason}: "
            "leave start_share out"
        )
    if share and Path(start).resolve() in {Path(folder).resolve() for folder in written}:
        raise ConfigError(
            f"start_share={share} keeps a share of the weights in start={start}, which this run "
            "writes over: give another out or run"
        )


def between(
    begun: Mapping[str, Tensor], learned: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """Mix two states of a model by name: `share` of the first, the rest of the second."""
    return {name: value.lerp(begun[name].to(value), share) for name, value in learned.items()}
