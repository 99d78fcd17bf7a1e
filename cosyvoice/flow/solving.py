"""How the flow is solved and what is done with the result. Knows no network."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from antiphon.errors import ConfigError

EULER, MIDPOINT = "euler", "midpoint"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MAX_STEPS, MAX_TEMPERATURE = 1000, 2
OTHERS_START_AT, OTHERS_TEMPERATURE = 0.1, 0.5


@dataclass(frozen=True)
class Solving:
    """Options of one solution; the defaults are those of the published decoder.

    Attributes:
        n_timesteps: Steps from noise to mel.
        guided_steps: Steps at the beginning that are guided, each at twice the cost; None for all.
        solver: "euler", or "midpoint" at twice the cost a step.
        dtype: Number format of products and convolutions, "float32" or "bfloat16". The second does
            not keep a reply the same whatever is decoded beside it.
        start_at: Time on the path, from 0 to below 1, at which it begins: with so large a share of
            the encoder's own mel, the rest is noise. For decoders whose encoder gives a mel, as
            those trained here; the published one's does not.
        temperature: Factor on the noise.
        contrast: How much the peaks of what comes out are raised before it is made sound
            (flow_inference/postfilter.py).

    Raises:
        ConfigError: If a number is out of range or the solver is another one.
    """

    n_timesteps: int = 10
    guided_steps: int | None = None
    solver: str = EULER
    dtype: str = "float32"
    start_at: float = 0.0
    temperature: float = 1.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        if not _is_count(self.n_timesteps) or not 1 <= self.n_timesteps <= MAX_STEPS:
            raise ConfigError(
                f"n_timesteps {self.n_timesteps!r}; expected a whole number from 1 to {MAX_STEPS}"
            )
        guided = self.guided_steps
        if guided is not None and (not _is_count(guided) or not 0 <= guided <= self.n_timesteps):
            raise ConfigError(
                f"guided_steps {guided!r}; expected a whole number up to n_timesteps "
                f"({self.n_timesteps}), or none for all"
            )
        if self.solver not in (EULER, MIDPOINT):
            raise ConfigError(
                f"solver {self.solver!r} is not supported; expected {EULER!r} or {MIDPOINT!r}"
            )

        if self.dtype not in DTYPES:
            raise ConfigError(
                f"dtype {self.dtype!r} is not supported; expected {' or '.join(DTYPES)}"
            )
        if not _is_number(self.start_at) or not 0 <= self.start_at < 1:
            raise ConfigError(f"start_at {self.start_at!r}; expected a number from 0 to below 1")
        if not _is_number(self.temperature) or not 0 <= self.temperature <= MAX_TEMPERATURE:
            raise ConfigError(
                f"temperature {self.temperature!r}; expected a number from 0 to {MAX_TEMPERATURE}"
            )
        if not _is_number(self.contrast) or not 0 <= self.contrast <= 1:
            raise ConfigError(f"contrast {self.contrast!r}; expected a number from 0 to 1")

    def start(self, noise: Tensor, mu: Tensor) -> Tensor:
        """Where on the path it begins, (B, C, T), from standard normal noise and the encoder's mel.

        Args:
            noise: (B, C, T).
            mu: Encoded tokens at the mel rate, (B, C, T).
        """
        scaled = noise * self.temperature
        return scaled if self.start_at == 0 else scaled.lerp(mu.to(scaled), self.start_at)

    def for_other_voice(self) -> "Solving":
        """Say how to solve it for another voice than the usual one.

        The encoder's mel is the usual voice's, and a solution that begins with much of it stays in
        that voice: others begin nearly in noise, in twice as many steps.
        """
        if self.start_at <= OTHERS_START_AT:
            return self
        return replace(
            self,
            n_timesteps=2 * self.n_timesteps,
            guided_steps=None if self.guided_steps is None else 2 * self.guided_steps,
            start_at=OTHERS_START_AT,
            temperature=max(self.temperature, OTHERS_TEMPERATURE),
        )

    def number_format(self, device: torch.device) -> torch.autocast:
        """Compute in `dtype` in this thread for as long as the context is entered."""
        dtype = DTYPES[self.dtype]
        return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)

    def is_guided(self, step: int) -> bool:
        """Tell whether step `step`, counted from 0, is guided."""
        return self.guided_steps is None or step < self.guided_steps


def _is_number(value: object) -> bool:
    """Tell a number from what a config file may hold instead."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    """Tell a whole number from what a config file may hold instead."""
    return isinstance(value, int) and not isinstance(value, bool)
