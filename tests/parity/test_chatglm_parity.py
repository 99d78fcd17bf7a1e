"""The language model against the reference numbers: plain, left-padded, greedy, full-size keys."""

import json

import pytest
import torch
from safetensors.torch import load_file

from antiphon.models.glm4voice.language_config import chatglm_to_glm
from antiphon.models.glm4voice.language_model import (
    build_empty_model,
    is_rotary_table,
    load_language_model,
    make_chatglm_plan,
    source_shapes,
)

TOLERANCE = 1e-4
FULL_SIZE = {
    "num_layers": 40,
    "hidden_size": 4096,
    "ffn_hidden_size": 13696,
    "num_attention_heads": 32,
    "kv_channels": 128,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "padded_vocab_size": 168960,
    "seq_length": 8192,
    "layernorm_epsilon": 3.90625e-08,
    "rope_ratio": 1,
    "add_qkv_bias": True,
    "eos_token_id": [151329, 151336, 151338],
    "pad_token_id": 151329,
}


@pytest.fixture(scope="module")
def model(parity_dir):
    return load_language_model(parity_dir / "public" / "chatglm", progress=False)


@pytest.fixture(scope="module")
def reference(parity_dir):
    return load_file(parity_dir / "public" / "chatglm" / "outputs.safetensors")


def test_logits(model, reference):
    with torch.inference_mode():
        logits = model(reference["input_ids"]).logits
    assert (logits - reference["logits"]).abs().max() <= TOLERANCE


def test_left_padded_logits(model, reference):
    mask = reference["padded.attention_mask"]
    with torch.inference_mode():
        logits = model(
            reference["padded.input_ids"],
            attention_mask=mask,
            position_ids=reference["padded.position_ids"],
        ).logits
    difference = (logits - reference["padded.logits"])[mask.bool()]
    assert difference.abs().max() <= TOLERANCE


def test_greedy_continuation(model, reference):
    ids = reference["greedy.prompt_ids"]
    cache = None
    step_ids = ids
    steps = []
    with torch.inference_mode():
        for _ in range(24):
            output = model(step_ids, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            steps.append(output.logits[:, -1])  # (B, V)
            step_ids = steps[-1].argmax(-1, keepdim=True)
            ids = torch.cat([ids, step_ids], dim=1)
    assert torch.equal(ids, reference["greedy.sequence"])
    assert (torch.stack(steps, 1) - reference["greedy.step_logits"]).abs().max() <= TOLERANCE


def test_full_size_model_has_exactly_the_published_keys(parity_dir):
    listing = json.loads((parity_dir / "keys" / "chatglm_keys.json").read_text())
    published = {key: tuple(shape) for key, shape, _ in listing if not is_rotary_table(key)}
    assert len(published) == len(listing) - 1
    full_size = build_empty_model(chatglm_to_glm(FULL_SIZE, "config.json"))
    plan = make_chatglm_plan(full_size)
    assert source_shapes(plan, full_size) == published
    targets = [target.name for parts in plan.values() for target in parts]
    assert sorted(targets) == sorted(name for name, _ in full_size.named_parameters())
