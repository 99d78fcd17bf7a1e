"""Writes a GlmForCausalLM as an official ChatGLM-layout checkpoint, in float16 shards."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import GlmForCausalLM

from antiphon.dialogue.prompt import N_AUDIO_BLOCK, N_TEXT_BLOCK
from antiphon.errors import CheckpointError
from antiphon.training.domain.table import SMALL
from antiphon.training.shards import save_shards

DOMAIN_FILE = "antiphon.json"


def chatglm_tensors(model: GlmForCausalLM) -> dict[str, Tensor]:
    """Rename and fuse the weights: q, k, v into query_key_value, the rest by name."""
    state = model.state_dict()
    out = {
        "transformer.embedding.word_embeddings.weight": state["model.embed_tokens.weight"],
        "transformer.encoder.final_layernorm.weight": state["model.norm.weight"],
        "transformer.output_layer.weight": state["lm_head.weight"],
    }
    for n in range(model.config.num_hidden_layers):
        source, target = f"model.layers.{n}.", f"transformer.encoder.layers.{n}."
        for kind in ("weight", "bias"):
            parts = [state[f"{source}self_attn.{p}_proj.{kind}"] for p in "qkv"]
            out[f"{target}self_attention.query_key_value.{kind}"] = torch.cat(parts)
        out[f"{target}self_attention.dense.weight"] = state[f"{source}self_attn.o_proj.weight"]
        out[f"{target}mlp.dense_h_to_4h.weight"] = state[f"{source}mlp.gate_up_proj.weight"]
        out[f"{target}mlp.dense_4h_to_h.weight"] = state[f"{source}mlp.down_proj.weight"]
        for norm in ("input_layernorm", "post_attention_layernorm"):
            out[f"{target}{norm}.weight"] = state[f"{source}{norm}.weight"]
    return {name: tensor.detach().cpu().half().contiguous() for name, tensor in out.items()}


def chatglm_config(model: GlmForCausalLM, max_turns: int | None = None) -> dict[str, object]:
    """Describe the model in the official config.json's terms, and what it has learned beside them.

    That is `max_turns`, and in what blocks of text and sound it replies.
    """
    config = model.config
    return {
        "architectures": ["ChatGLMModel"],
        "model_type": "chatglm",
        "num_layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "ffn_hidden_size": config.intermediate_size,
        "num_attention_heads": config.num_attention_heads,
        "kv_channels": config.head_dim,
        "multi_query_attention": True,
        "multi_query_group_num": config.num_key_value_heads,
        "padded_vocab_size": config.vocab_size,
        "vocab_size": config.vocab_size,
        "seq_length": config.max_position_embeddings,
        "layernorm_epsilon": config.rms_norm_eps,
        "rope_ratio": 1,
        "original_rope": True,
        "add_qkv_bias": True,
        "add_bias_linear": False,
        "rmsnorm": True,
        "post_layer_norm": True,
        "apply_query_key_layer_scaling": True,
        "apply_residual_connection_post_layernorm": False,
        "attention_softmax_in_fp32": True,
        "tie_word_embeddings": False,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
        "torch_dtype": "float16",
        "interleave": [N_TEXT_BLOCK, N_AUDIO_BLOCK],
        **({"max_turns": max_turns} if max_turns else {}),
    }


def export_language_model(model: GlmForCausalLM, out: Path, max_turns: int | None = None) -> None:
    """Write config.json and the weights to `out`; `max_turns` as in `TokenLayout`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(chatglm_config(model, max_turns), indent=2) + "\n")
    save_shards(chatglm_tensors(model), out)


def write_domain(name: str, languages: Sequence[str], out: Path) -> None:
    """Write beside the weights what the model was taught, for its evaluation."""
    path = out / DOMAIN_FILE
    described = json.dumps({"domain": name, "languages": list(languages)}, indent=2) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != described:  # others may read it
        path.write_text(described, encoding="utf-8")


def read_domain(folder: Path) -> str:
    """Read the name of the domain a model was taught; models without the file know the small one.

    Raises:
        CheckpointError: If the file cannot be understood.
    """
    path = folder / DOMAIN_FILE
    if not path.exists():
        return SMALL
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["domain"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} does not name a domain: {error!r}") from error
