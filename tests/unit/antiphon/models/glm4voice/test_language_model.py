"""Loading the language model: layouts, shards, types, memory, and every way a file can be wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GlmForCausalLM

from antiphon.errors import CheckpointError, ConfigError
from antiphon.models.glm4voice.language_config import chatglm_to_glm
from antiphon.models.glm4voice.language_model import load_language_model
from antiphon.training.lm_export import export_language_model

FIELDS = {
    "model_type": "chatglm",
    "num_layers": 2,
    "hidden_size": 64,
    "ffn_hidden_size": 128,
    "num_attention_heads": 4,
    "kv_channels": 16,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "padded_vocab_size": 96,
    "seq_length": 128,
    "layernorm_epsilon": 1e-5,
    "rope_ratio": 2,
    "add_qkv_bias": True,
    "eos_token_id": [3],
    "pad_token_id": 3,
}
PREFIX = "transformer.encoder.layers"
FUSED = f"{PREFIX}.1.self_attention.query_key_value.weight"


def chatglm_shapes(fields):
    width, ffn, head = fields["hidden_size"], fields["ffn_hidden_size"], fields["kv_channels"]
    n_query = fields["num_attention_heads"] * head
    n_fused = n_query + 2 * fields["multi_query_group_num"] * head
    shapes = {"transformer.rotary_pos_emb.inv_freq": (head // 4,)}
    for i in range(fields["num_layers"]):
        shapes |= {
            f"{PREFIX}.{i}.input_layernorm.weight": (width,),
            f"{PREFIX}.{i}.self_attention.query_key_value.weight": (n_fused, width),
            f"{PREFIX}.{i}.self_attention.query_key_value.bias": (n_fused,),
            f"{PREFIX}.{i}.self_attention.dense.weight": (width, n_query),
            f"{PREFIX}.{i}.post_attention_layernorm.weight": (width,),
            f"{PREFIX}.{i}.mlp.dense_h_to_4h.weight": (2 * ffn, width),
            f"{PREFIX}.{i}.mlp.dense_4h_to_h.weight": (width, ffn),
        }
    vocabulary = (fields["padded_vocab_size"], width)
    return shapes | {
        "transformer.embedding.word_embeddings.weight": vocabulary,
        "transformer.encoder.final_layernorm.weight": (width,),
        "transformer.output_layer.weight": vocabulary,
    }


def random_weights(fields, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return {
        key: (torch.randn(shape, generator=generator) * 0.1).to(dtype)
        for key, shape in chatglm_shapes(fields).items()
    }


def write_checkpoint(folder, weights, fields=FIELDS, n_shards=1, torch_files=False):
    """Write the official layout: one file, or shards with an index, safetensors or torch."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fields))
    stem, suffix = ("pytorch_model", "bin") if torch_files else ("model", "safetensors")
    keys = list(weights)
    table = {}
    for n in range(n_shards):
        part = {key: weights[key] for key in keys[n::n_shards]}
        name = f"{stem}.{suffix}" if n_shards == 1 else f"{stem}-{n + 1}-of-{n_shards}.{suffix}"
        table |= dict.fromkeys(part, name)
        if torch_files:
            torch.save(part, folder / name)
        else:
            save_file(part, folder / name, metadata={"format": "pt"})
    if n_shards > 1:
        index = {"weight_map": table}
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def weights():
    return random_weights(FIELDS)


@pytest.fixture
def checkpoint(tmp_path, weights):
    return write_checkpoint(tmp_path / "lm", weights)


def load(folder, **options):
    return load_language_model(folder, progress=False, **options)


def logits(model):
    ids = torch.arange(24).reshape(2, 12) * 3 % 96
    with torch.inference_mode():
        return model(ids).logits.float()


def test_model_is_ready_to_use(checkpoint):
    model = load(checkpoint)
    assert isinstance(model, GlmForCausalLM)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(t.is_meta for t in [*model.parameters(), *model.buffers()])
    assert model.config.rope_parameters["rope_theta"] == 20_000
    assert model.config.max_position_embeddings == 128


def test_fused_rows_become_query_key_value(checkpoint, weights):
    attention = load(checkpoint).model.layers[1].self_attn
    parts = [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
    assert [part.shape[0] for part in parts] == [64, 32, 32]
    assert torch.equal(torch.cat(parts), weights[FUSED])


@pytest.mark.parametrize(("n_shards", "torch_files"), [(3, False), (1, True), (3, True)])
def test_every_file_layout_gives_the_same_model(
    tmp_path, checkpoint, weights, n_shards, torch_files
):
    other = write_checkpoint(tmp_path / "other", weights, FIELDS, n_shards, torch_files)
    assert torch.equal(logits(load(other)), logits(load(checkpoint)))


def test_native_layout_gives_the_same_model(tmp_path, checkpoint):
    model = load(checkpoint)
    model.save_pretrained(tmp_path / "native")
    assert json.loads((tmp_path / "native" / "config.json").read_text())["model_type"] == "glm"
    assert torch.equal(logits(load(tmp_path / "native")), logits(model))


def test_export_of_the_training_recipe_loads_again(tmp_path, checkpoint):
    model = load(checkpoint)
    config = model.config
    config.rope_parameters["rope_theta"] = 10_000.0
    export_language_model(model, tmp_path / "out", max_turns=2)
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (written["max_turns"], written["interleave"]) == (2, [13, 26])
    again = load(tmp_path / "out")
    for (name, ours), theirs in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(ours.half().float(), theirs), name


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8", "int4"])
def test_every_dtype_computes_nearly_the_same(checkpoint, dtype):
    exact = logits(load(checkpoint))
    model = load(checkpoint, dtype=dtype)
    similarity = torch.nn.functional.cosine_similarity(logits(model).flatten(), exact.flatten(), 0)
    assert similarity > (0.9 if dtype == "int4" else 0.99)
    assert model.lm_head.weight.dtype in (torch.bfloat16, torch.float16)


def test_quantized_weights_take_less_memory(checkpoint):
    sizes = [load(checkpoint, dtype=d).get_memory_footprint() for d in ("bfloat16", "int8", "int4")]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


def test_unknown_dtype_and_device_are_refused(checkpoint):
    with pytest.raises(ConfigError, match="choose one of float32"):
        load(checkpoint, dtype="fp8")
    for device in ("gpu7", "meta9:x", "cuda:99"):
        with pytest.raises(ConfigError, match="cannot be used here"):
            load(checkpoint, device=device)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rmsnorm", False),
        ("post_layer_norm", False),
        ("add_bias_linear", True),
        ("original_rope", False),
        ("apply_residual_connection_post_layernorm", True),
        ("tie_word_embeddings", True),
        ("quantization_bit", 4),
        ("pre_seq_len", 128),
        ("vision_config", {"hidden_size": 1}),
        ("quantization_config", {"bits": 4}),
        ("num_layers", 0),
        ("hidden_size", "64"),
        ("rope_ratio", -1),
        ("multi_query_group_num", 3),
    ],
)
def test_unsupported_variant_is_named(field, value):
    with pytest.raises(CheckpointError, match=field):
        chatglm_to_glm({**FIELDS, field: value}, "config.json")


def test_missing_size_is_named():
    fields = {key: value for key, value in FIELDS.items() if key != "ffn_hidden_size"}
    with pytest.raises(CheckpointError, match="ffn_hidden_size must be a whole number"):
        chatglm_to_glm(fields, "config.json")


def test_other_model_type_is_refused(checkpoint):
    (checkpoint / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match=r"'llama' is not supported; expected chatglm or glm"):
        load(checkpoint)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_damaged_config_is_named(checkpoint, text):
    (checkpoint / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load(checkpoint)


def test_missing_config_and_weights_are_named(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no weights"):
        load(checkpoint)
    (checkpoint / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load(checkpoint)


def test_missing_and_unexpected_keys_are_named(tmp_path, weights):
    weights["transformer.adapter.weight"] = weights.pop(FUSED)
    folder = write_checkpoint(tmp_path, weights)
    with pytest.raises(CheckpointError, match=rf"1 missing: {FUSED}; 1 unexpected: .*adapter"):
        load(folder)


def test_wrong_shape_is_named(tmp_path, weights):
    weights[FUSED] = weights[FUSED][:-1].contiguous()
    folder = write_checkpoint(tmp_path, weights)
    with pytest.raises(CheckpointError, match=rf"{FUSED}: expected \(128, 64\), got \(127, 64\)"):
        load(folder)


@pytest.mark.parametrize("torch_files", [False, True])
def test_truncated_shard_is_named_before_weights_are_read(tmp_path, weights, torch_files):
    folder = write_checkpoint(tmp_path, weights, FIELDS, 3, torch_files)
    shard = sorted(folder.glob("*-3-of-3.*"))[0]
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=shard.name):
        load(folder)


def test_missing_shard_is_named(tmp_path, weights):
    folder = write_checkpoint(tmp_path, weights, FIELDS, 3)
    (folder / "model-2-of-3.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-2-of-3\.safetensors is missing"):
        load(folder)


def test_progress_bar_counts_the_tensors(checkpoint, weights, capsys):
    load_language_model(checkpoint)
    assert f"{len(weights) - 1}/{len(weights) - 1}" in capsys.readouterr().err
    load_language_model(checkpoint, progress=False)
    assert capsys.readouterr().err == ""


MEASURE = """
import sys
from pathlib import Path
from antiphon.models.glm4voice.language_model import load_language_model
def memory(name):  # not getrusage: its peak includes that of the parent process
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
folder = Path(sys.argv[1])
load_language_model(folder / "small", progress=False)
before = memory("VmRSS")
model = load_language_model(folder / "big", progress=False)
print(memory("VmHWM") - before, model.get_memory_footprint())
"""
BIG = {**FIELDS, "num_layers": 8, "hidden_size": 512, "ffn_hidden_size": 2304}
BIG |= {"num_attention_heads": 8, "kv_channels": 64, "padded_vocab_size": 8192}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("torch_files", [False, True])
def test_peak_memory_is_the_weights_and_one_shard(tmp_path, weights, torch_files):
    write_checkpoint(tmp_path / "small", weights, FIELDS, 1, torch_files)
    folder = write_checkpoint(tmp_path / "big", random_weights(BIG), BIG, 8, torch_files)
    shard = max(path.stat().st_size for path in folder.iterdir())
    root = Path(__file__).resolve().parents[5]
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    peak, footprint = map(int, result.stdout.split())
    assert footprint > 5 * shard > 50e6
    assert peak < footprint + shard


def test_checkpoint_in_half_precision_loads_as_float32(tmp_path):
    half = random_weights(FIELDS, torch.float16)
    model = load(write_checkpoint(tmp_path, half))
    stored = load_file(tmp_path / "model.safetensors")["transformer.output_layer.weight"]
    assert torch.equal(model.lm_head.weight, stored.float())
