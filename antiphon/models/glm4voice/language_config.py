"""Translates a ChatGLM config.json into transformers' GlmConfig; refuses other variants.

Source: the field names of the public glm-4-9b and glm-4-voice-9b configurations.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from transformers import GlmConfig

from antiphon.errors import CheckpointError
from antiphon.models.glm4voice import spec

JsonObject = Mapping[str, object]

SIZES = {
    "padded_vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "ffn_hidden_size": "intermediate_size",
    "num_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "kv_channels": "head_dim",
}
"""ChatGLM field to Glm field, for the sizes that have to be there."""

REQUIRED_FLAGS = {
    "rmsnorm": True,
    "post_layer_norm": True,
    "add_bias_linear": False,
    "original_rope": True,
    "apply_residual_connection_post_layernorm": False,
    "fp32_residual_connection": False,
    "tie_word_embeddings": False,
    "quantization_bit": 0,
    "pre_seq_len": None,
    "vision_config": None,
    "quantization_config": None,
}
"""The variant of ChatGLM that Glm computes; a field that is absent has this value."""

ROPE_BASE = 10_000.0
ROTATED_SHARE = 0.5
"""ChatGLM rotates the first half of each head."""


def read_language_config(folder: Path) -> GlmConfig:
    """Read `config.json` of a language model in ChatGLM or native Glm layout.

    Raises:
        CheckpointError: If it is missing, damaged or of a variant that is not supported.
    """
    fields = read_config_fields(folder)
    if is_chatglm(fields):
        return chatglm_to_glm(fields, str(folder / "config.json"))
    if fields.get("model_type") == "glm" and not fields.get("quantization_config"):
        return GlmConfig.from_dict(dict(fields))
    raise CheckpointError(
        f"{folder / 'config.json'}: model_type {fields.get('model_type')!r} is not supported; "
        "expected chatglm or glm, with weights that are not quantized"
    )


def read_config_fields(folder: Path) -> dict[str, object]:
    """Read the fields of `config.json`.

    Raises:
        CheckpointError: If it is missing or no JSON object.
    """
    path = folder / "config.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{path} is missing; expected a language model's config.json"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got a {type(fields).__name__}")
    return fields


def is_chatglm(fields: JsonObject) -> bool:
    """Tell whether a config describes the fused ChatGLM layout."""
    return fields.get("model_type") == "chatglm"


def chatglm_to_glm(fields: JsonObject, where: str) -> GlmConfig:
    """Translate ChatGLM fields.

    Args:
        fields: Contents of config.json.
        where: File named in error messages.

    Raises:
        CheckpointError: If a size is missing or wrong, or a flag asks for another variant.
    """
    for name, supported in REQUIRED_FLAGS.items():
        value = fields.get(name, supported)
        if value != supported and (value or supported):
            raise CheckpointError(
                f"{where}: {name}={value!r} is not supported, only {supported!r} is"
            )
    sizes = {ours: read_size(fields, theirs, where) for theirs, ours in SIZES.items()}
    n_groups = sizes["num_attention_heads"]
    if fields.get("multi_query_attention", False):
        n_groups = read_size(fields, "multi_query_group_num", where)
    if sizes["num_attention_heads"] % n_groups:
        raise CheckpointError(
            f"{where}: num_attention_heads {sizes['num_attention_heads']} is no multiple of "
            f"multi_query_group_num {n_groups}"
        )
    rope = {
        "rope_type": "default",
        "rope_theta": ROPE_BASE * read_number(fields, "rope_ratio", where, 1.0),
        "partial_rotary_factor": ROTATED_SHARE,
    }
    context = read_size(fields, "seq_length", where, spec.DEFAULT_CONTEXT_LENGTH)
    return GlmConfig.from_dict(
        {
            **sizes,
            "num_key_value_heads": n_groups,
            "max_position_embeddings": context,
            "rms_norm_eps": read_number(fields, "layernorm_epsilon", where, 1e-5),
            "attention_bias": bool(fields.get("add_qkv_bias", False)),
            "rope_parameters": rope,
            "eos_token_id": fields.get("eos_token_id"),
            "pad_token_id": fields.get("pad_token_id"),
            "tie_word_embeddings": False,
        }
    )


def read_size(fields: JsonObject, name: str, where: str, default: int | None = None) -> int:
    """Read a positive whole number."""
    value = fields.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"{where}: {name} must be a whole number above 0, got {value!r}")
    return value


def read_number(fields: JsonObject, name: str, where: str, default: float) -> float:
    """Read a positive number."""
    value = fields.get(name, default)
    if not isinstance(value, int | float) or not value > 0:
        raise CheckpointError(f"{where}: {name} must be a number above 0, got {value!r}")
    return float(value)
