"""Loads the language model, shard by shard, into transformers' own GlmForCausalLM; no remote code.

ChatGLM fuses query, key and value, and names layers its own way; the plan below says which rows of
which checkpoint tensor become which parameter. Computes nothing itself.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import GlmConfig, GlmForCausalLM

from antiphon.checkpoints import check_keys, find_weight_files, load_weights, resolve_checkpoint
from antiphon.engine.quantization import (
    LoadArguments,
    can_quantize,
    load_arguments,
    quantize_linear,
)
from antiphon.errors import ConfigError
from antiphon.models.glm4voice.language_config import (
    is_chatglm,
    read_config_fields,
    read_language_config,
)

LANGUAGE_MODEL_FILES = ("*.json", "*.safetensors", "*.bin", "*.model")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """A parameter and the rows of the checkpoint tensor it takes.

    Attributes:
        name: Parameter of GlmForCausalLM.
        n_rows: Rows it takes; several targets of one tensor follow each other.
    """

    name: str
    n_rows: int


Plan = dict[str, tuple[Target, ...]]


def load_language_model(
    dir_or_hub_name: str | Path,
    dtype: str = "float32",
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> GlmForCausalLM:
    """Load a language model in ChatGLM or native Glm layout.

    At most the weights and one shard are in memory at a time.

    Args:
        dir_or_hub_name: Checkpoint folder or hub name.
        dtype: float32, bfloat16, float16, int8 or int4.
        device: Where the weights go.
        progress: Show a progress bar.

    Returns:
        The model in eval mode, without gradients.

    Raises:
        ConfigError: If `dtype` or `device` is unknown.
        CheckpointError: If the checkpoint is missing, damaged, of an unsupported variant or does
            not fit its own config; names the file or key.
    """
    arguments = load_arguments(dtype)
    device = parse_device(device)
    folder = resolve_checkpoint(dir_or_hub_name, allow_patterns=LANGUAGE_MODEL_FILES)
    config = read_language_config(folder)
    model = build_empty_model(config)
    fused = is_chatglm(read_config_fields(folder))
    plan = make_chatglm_plan(model) if fused else make_native_plan(model)
    shards = find_weight_files(folder)
    check_shards(plan, model, shards, folder)
    with tqdm(total=len(plan), desc="loading weights", disable=not progress) as bar:
        for shard in shards:
            for _ in fill_from_shard(model, shard, plan, arguments, device):
                bar.update()
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(device)
    logger.info("loaded %s as %s on %s", folder, dtype, device)
    model.requires_grad_(False)
    model.train(mode=False)
    return model


def parse_device(device: str | torch.device) -> torch.device:
    """Turn a device name into a device that is there.

    Raises:
        ConfigError: If the name is unknown or this machine has no such device.
    """
    try:
        parsed = torch.device(device)
        torch.empty(0, device=parsed)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigError(f"device {str(device)!r} cannot be used here: {reason}") from error
    return parsed


def build_empty_model(config: GlmConfig) -> GlmForCausalLM:
    """Build the network without memory for its weights (on the meta device)."""
    with torch.device("meta"):
        return GlmForCausalLM(config)


def make_chatglm_plan(model: GlmForCausalLM) -> Plan:
    """Say which parameters each tensor of the ChatGLM layout becomes.

    Source: measured equal to the reference network; see docs/parity.md.
    """
    rows = {name: parameter.shape[0] for name, parameter in model.named_parameters()}
    sources = {
        "transformer.embedding.word_embeddings.weight": ["model.embed_tokens.weight"],
        "transformer.encoder.final_layernorm.weight": ["model.norm.weight"],
        "transformer.output_layer.weight": ["lm_head.weight"],
    }
    for i in range(model.config.num_hidden_layers):
        theirs, ours = f"transformer.encoder.layers.{i}.", f"model.layers.{i}."
        for norm in ("input_layernorm.weight", "post_attention_layernorm.weight"):
            sources[theirs + norm] = [ours + norm]
        for kind in ("weight", "bias") if model.config.attention_bias else ("weight",):
            fused = f"{theirs}self_attention.query_key_value.{kind}"
            sources[fused] = [f"{ours}self_attn.{name}_proj.{kind}" for name in "qkv"]
        sources[theirs + "self_attention.dense.weight"] = [ours + "self_attn.o_proj.weight"]
        sources[theirs + "mlp.dense_h_to_4h.weight"] = [ours + "mlp.gate_up_proj.weight"]
        sources[theirs + "mlp.dense_4h_to_h.weight"] = [ours + "mlp.down_proj.weight"]
    return {
        source: tuple(Target(name, rows[name]) for name in names)
        for source, names in sources.items()
    }


def make_native_plan(model: GlmForCausalLM) -> Plan:
    """Say that each tensor of the native Glm layout is the parameter of its name."""
    return {
        name: (Target(name, parameter.shape[0]),) for name, parameter in model.named_parameters()
    }


def source_shapes(plan: Plan, model: GlmForCausalLM) -> dict[str, tuple[int, ...]]:
    """Give the shape that each checkpoint tensor has to have."""
    shapes = {}
    for source, targets in plan.items():
        n_rows = sum(target.n_rows for target in targets)
        shapes[source] = (n_rows, *model.get_parameter(targets[0].name).shape[1:])
    return shapes


def check_shards(plan: Plan, model: GlmForCausalLM, shards: list[Path], folder: Path) -> None:
    """Check names and shapes of all shards before any weight is read.

    Raises:
        CheckpointError: If a shard is damaged, or keys are missing, unexpected or wrong.
    """
    found: dict[str, tuple[int, ...]] = {}
    for shard in shards:  # the files are mapped: this reads their headers only
        found.update({key: tuple(value.shape) for key, value in load_weights(shard).items()})
    check_keys(source_shapes(plan, model), found, folder, ignore=is_rotary_table)


def is_rotary_table(key: str) -> bool:
    """Tell whether a key is the table of rotary frequencies, which is computed, not loaded."""
    return key.endswith("rotary_pos_emb.inv_freq") or key.endswith("rotary_emb.inv_freq")


def fill_from_shard(
    model: GlmForCausalLM,
    shard: Path,
    plan: Plan,
    arguments: LoadArguments,
    device: torch.device,
) -> Iterator[str]:
    """Move the tensors of one shard into the model, one after the other; yield their keys."""
    weights = load_weights(shard)
    for key in list(weights):
        tensor = weights.pop(key)
        if key in plan:
            parts = torch.split(tensor, [target.n_rows for target in plan[key]])  # rows, dim 0
            for target, part in zip(plan[key], parts, strict=True):
                set_parameter(model, target.name, part, arguments, device)
            yield key


def set_parameter(
    model: GlmForCausalLM,
    name: str,
    tensor: Tensor,
    arguments: LoadArguments,
    device: torch.device,
) -> None:
    """Give one parameter its values, quantizing the linear layers inside the network."""
    module_name, kind = name.rsplit(".", 1)
    module = model.get_submodule(module_name)
    inner_weight = module_name != "lm_head" and kind == "weight"
    if inner_weight and isinstance(module, nn.Linear) and can_quantize(tensor, arguments):
        model.set_submodule(module_name, quantize_linear(module, tensor, arguments, device))
        return
    # A copy, so that the mapped file is let go.
    value = tensor.to(device=device, dtype=arguments.torch_dtype, copy=True)
    module.register_parameter(kind, nn.Parameter(value, requires_grad=False))
