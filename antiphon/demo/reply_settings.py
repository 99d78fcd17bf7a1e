"""The settings of a reply as the page has them, and the presets. Knows no component."""

import math
from dataclasses import dataclass

from antiphon.dialogue.turn_pipeline import TurnOptions
from antiphon.errors import ConfigError

MAX_SEED = 2**31 - 1
RANDOM_SEED = -1  # on the page: draw one
OWN_VOICE = ""  # on the page: the decoder's first


@dataclass(frozen=True)
class Preset:
    """Settings under one name; `name` is the key of its words."""

    name: str
    temperature: float
    top_p: float
    seed: int


PRESETS = (
    Preset("preset_usual", 0.2, 0.8, RANDOM_SEED),
    Preset("preset_exact", 0.0, 1.0, 0),
    Preset("preset_lively", 0.8, 0.95, RANDOM_SEED),
)


def read_options(
    temperature: float,
    top_p: float,
    max_tokens: float,
    seed: float | None,
    voice: str | None = None,
) -> TurnOptions:
    """Turn the settings of the page into options.

    Raises:
        ConfigError: If a value cannot be used.
    """
    values = {"temperature": temperature, "top-p": top_p, "the most new tokens": max_tokens}
    for name, value in values.items():
        if value is None or not math.isfinite(value):
            raise ConfigError(f"{name} must be a number, got {value}")
    if seed is not None and not (math.isfinite(seed) and RANDOM_SEED <= seed <= MAX_SEED):
        raise ConfigError(f"the seed must lie between 0 and {MAX_SEED} (-1: any), got {seed}")
    return TurnOptions(
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=int(max_tokens),
        seed=None if seed is None or seed == RANDOM_SEED else int(seed),
        voice=voice or None,
    )
