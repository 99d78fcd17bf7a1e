"""The settings of a WhisperVQ speech tokenizer, as written in its `config.json`.

Knows the field names and which values this code supports; knows nothing of tensors.
Source: the `config.json` published with the GLM-4-Voice tokenizer.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from antiphon.errors import CheckpointError, ConfigError

CONFIG_NAME = "config.json"
SAMPLE_RATE = 16_000
HOP_LENGTH = 160
CONV_STRIDE = 2


@dataclass(frozen=True)
class WhisperVQConfig:
    """Fields of the official `config.json` that decide what the encoder computes.

    Attributes:
        d_model, encoder_attention_heads, encoder_ffn_dim: Sizes of a layer.
        encoder_layers: Layers of the model the encoder was cut from; not built.
        num_mel_bins: Mel bands of the input features.
        max_source_positions: Longest input, in frames of 20 ms after the convolutions.
        pooling_kernel_size, pooling_position: Frames averaged into one token, and the
            number of layers before.
        quantize_vocab_size, quantize_position: Codes, and the number of layers before them.
        quantize_causal_block_size: Frames that see each other fully; earlier ones are always seen.
        encoder_causal_convolution, encoder_causal_attention: Whether the future is hidden.
        quantize_ema_decay, quantize_commit_coefficient, quantize_loss_scale,
            quantize_restart_interval: Used in training only.
    """

    d_model: int = 1280
    encoder_layers: int = 32
    encoder_attention_heads: int = 20
    encoder_ffn_dim: int = 5120
    num_mel_bins: int = 128
    max_source_positions: int = 1500
    activation_function: str = "gelu"
    scale_embedding: bool = False
    pooling_kernel_size: int = 4
    pooling_type: str = "avg"
    pooling_position: int = 16
    quantize_vocab_size: int = 16_384
    quantize_position: int = 16
    quantize_causal_block_size: int | None = 200
    encoder_causal_convolution: bool = True
    encoder_causal_attention: bool = False
    quantize_ema_decay: float = 0.99
    quantize_commit_coefficient: float = 0.25
    quantize_loss_scale: float = 10.0
    quantize_restart_interval: int = 100

    def __post_init__(self) -> None:
        """Refuse settings this code would compute wrongly; raises ConfigError naming the field."""
        self._check_choices()
        self._check_sizes()

    def _check_choices(self) -> None:
        choices: Mapping[str, tuple[object, ...]] = {
            "activation_function": ("gelu",),
            "pooling_type": ("avg",),
            "scale_embedding": (False,),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(
                    f"speech tokenizer config: {name} is {value!r}; "
                    f"supported: {', '.join(repr(choice) for choice in allowed)}"
                )

    def _check_sizes(self) -> None:
        sizes: tuple[str, ...] = (
            "d_model",
            "encoder_attention_heads",
            "encoder_ffn_dim",
            "num_mel_bins",
            "max_source_positions",
            "pooling_kernel_size",
            "pooling_position",
            "quantize_vocab_size",
            "quantize_position",
        )
        if self.quantize_causal_block_size is not None:
            sizes = (*sizes, "quantize_causal_block_size")
        for name in sizes:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(
                    f"speech tokenizer config: {name} is {value!r}; expected a whole number above 0"
                )
        if self.d_model % (2 * self.encoder_attention_heads):
            raise ConfigError(
                f"speech tokenizer config: d_model {self.d_model} must be an even multiple of "
                f"encoder_attention_heads {self.encoder_attention_heads}"
            )
        if self.pooling_position > self.quantize_position:
            raise ConfigError(
                f"speech tokenizer config: pooling_position {self.pooling_position} must not be "
                f"after quantize_position {self.quantize_position}"
            )

    @property
    def frame_size(self) -> int:
        """Samples at 16 kHz behind one token (1280 in the official configuration)."""
        return HOP_LENGTH * CONV_STRIDE * self.pooling_kernel_size

    @property
    def frame_rate(self) -> float:
        """Tokens a second (12.5 in the official configuration)."""
        return SAMPLE_RATE / self.frame_size

    @property
    def max_samples(self) -> int:
        """Samples at 16 kHz of the longest segment (480,000 = 30 s officially)."""
        return self.max_source_positions * CONV_STRIDE * HOP_LENGTH

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest segment (375 officially)."""
        return -(-self.max_source_positions // self.pooling_kernel_size)

    @property
    def block_tokens(self) -> int:
        """Tokens that are computed together, as they see each other (50 officially).

        All tokens of a segment where an encoder sees further ahead than its own block.
        """
        block_size = self.quantize_causal_block_size
        sees_blocks = self.encoder_causal_convolution and not self.encoder_causal_attention
        if block_size is None or block_size % self.pooling_kernel_size or not sees_blocks:
            return self.max_tokens
        return block_size // self.pooling_kernel_size

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """Build from the dictionary of an official `config.json`; other official keys are left out.

        Raises:
            ConfigError: If a needed value is of a kind this code does not support.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        known = {key: value for key, value in values.items() if key in names}
        return cls(**known)  # type: ignore[arg-type]  # checked in __post_init__

    @classmethod
    def from_json(cls, path: str | Path) -> Self:
        """Read a `config.json`, or the one inside a folder.

        Raises:
            CheckpointError: If the file is missing or is not a JSON object.
            ConfigError: If a setting is not supported.
        """
        path = Path(path)
        if path.is_dir():
            path = path / CONFIG_NAME
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(
                f"cannot read {path}: {error.strerror or error}; a speech tokenizer folder holds "
                f"{CONFIG_NAME} and model.safetensors"
            ) from error
        except ValueError as error:
            raise CheckpointError(f"{path} is not valid JSON ({error}); fetch it again") from error
        if not isinstance(values, dict):
            raise CheckpointError(f"{path} holds {type(values).__name__}; expected a JSON object")
        return cls.from_dict(values)

    def to_dict(self) -> dict[str, object]:
        """Return the fields in the official names, ready for `config.json`."""
        fixed: dict[str, object] = {"architectures": ["WhisperVQEncoder"], "model_type": "whisper"}
        return fixed | dataclasses.asdict(self)
