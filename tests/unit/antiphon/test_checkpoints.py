"""Finding, reading and checking weights, with every kind of damaged file."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from antiphon.checkpoints import (
    check_keys,
    compare_keys,
    find_weight_files,
    load_safetensors,
    load_strict,
    load_torch,
    load_weights,
    resolve_checkpoint,
)
from antiphon.errors import CheckpointError


@pytest.fixture
def weights():
    return {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def save_index(folder, table, name="model.safetensors"):
    (folder / f"{name}.index.json").write_text(json.dumps({"weight_map": table}))


def test_both_formats_give_the_saved_tensors(tmp_path, weights):
    save_file(weights, tmp_path / "x.safetensors")
    torch.save(weights, tmp_path / "x.pt")
    torch.save(weights, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("x.safetensors", "x.pt", "old.pt"):
        loaded = load_weights(tmp_path / name)
        assert loaded.keys() == weights.keys()
        assert all(torch.equal(loaded[key], weights[key]) for key in weights)


@pytest.mark.parametrize("load", [load_safetensors, load_torch])
def test_missing_file_is_named(tmp_path, load):
    with pytest.raises(CheckpointError, match=r"gone\.pt is missing"):
        load(tmp_path / "gone.pt")


@pytest.mark.parametrize("size", [0, 4, 40, -20, -1])
def test_truncated_safetensors_is_named(tmp_path, weights, size):
    path = tmp_path / "model.safetensors"
    save_file(weights, path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged or incomplete"):
        load_safetensors(path)


@pytest.mark.parametrize("size", [0, 4, 40, 300, -1])
@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_torch_file_is_named(tmp_path, weights, size, zipped):
    path = tmp_path / "flow.pt"
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"flow\.pt is not a plain state dict"):
        load_torch(path)


class Intruder:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (self.marker, "w"))


def test_torch_file_with_code_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "was_here"
    torch.save({"a": Intruder(str(marker))}, tmp_path / "evil.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps({"a": Intruder(str(marker))}, protocol=2))
    for name in ("evil.pt", "raw.pt"):
        with pytest.raises(CheckpointError, match="refused for safety"):
            load_torch(tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"), [([1, 2], "got a list"), ({"epoch": 3}, "'epoch' is a int")]
)
def test_torch_file_of_something_else_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=message):
        load_torch(tmp_path / "x.pt")


def test_lfs_pointer_is_recognised(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    with pytest.raises(CheckpointError, match="git lfs pull"):
        load_safetensors(path)


def test_single_file_and_shards_are_found(tmp_path, weights):
    for name in ("model-2.safetensors", "model-1.safetensors"):
        save_file(weights, tmp_path / name)
    save_index(tmp_path, {"b": "model-2.safetensors", "a": "model-1.safetensors"})
    assert [path.name for path in find_weight_files(tmp_path)] == [
        "model-1.safetensors",
        "model-2.safetensors",
    ]
    (tmp_path / "model.safetensors.index.json").unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    assert [path.name for path in find_weight_files(tmp_path)] == ["pytorch_model.bin"]


def test_folder_without_weights_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no weights; expected one of model\.safet"):
        find_weight_files(tmp_path)


def test_missing_shard_is_named(tmp_path):
    save_index(tmp_path, {"a": "model-00001-of-00002.safetensors"})
    with pytest.raises(CheckpointError, match=r"model-00001-of-00002\.safetensors is missing"):
        find_weight_files(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": 3}'])
def test_damaged_index_is_named(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"index\.json is not a shard index"):
        find_weight_files(tmp_path)


def test_index_cannot_lead_outside_its_folder(tmp_path):
    save_index(tmp_path, {"a": "../secret.safetensors"})
    with pytest.raises(CheckpointError, match="outside the checkpoint folder"):
        find_weight_files(tmp_path)


def test_differences_are_named():
    expected = {"a": (2, 3), "b": (1,), "c": (4,)}
    found = {"a": (3, 2), "c": (4,), "d": (1,), "unused": (9,)}
    differences = compare_keys(expected, found, ignore={"unused"})
    assert differences.missing == ("b",)
    assert differences.unexpected == ("d",)
    assert differences.wrong_shape == ("a: expected (2, 3), got (3, 2)",)
    with pytest.raises(CheckpointError, match=r"flow\.pt does not fit .* 1 missing: b; 1 unexp"):
        check_keys(expected, found, "flow.pt", ignore={"unused"})


def test_equal_keys_pass():
    assert not compare_keys({"a": (1,)}, {"a": torch.Size([1]), "x": (2,)}, lambda key: key == "x")


def test_many_keys_are_counted():
    expected = {f"layer.{i}": (1,) for i in range(12)}
    with pytest.raises(CheckpointError, match=r"12 missing: layer\.0, .*layer\.4 and 7 more"):
        check_keys(expected, {}, "x")


def test_strict_loading_fills_a_module(weights):
    module = nn.ModuleDict({"a": nn.Linear(3, 2)})
    load_strict(module, {**weights, "extra": torch.ones(1)}, "x", ignore={"extra"})
    assert torch.equal(module["a"].weight, weights["a.weight"])


def test_strict_loading_fills_a_meta_module(weights):
    with torch.device("meta"):
        module = nn.ModuleDict({"a": nn.Linear(3, 2)})
    load_strict(module, weights, "x", assign=True)
    assert torch.equal(module["a"].weight, weights["a.weight"])


def test_strict_loading_names_a_wrong_shape(weights):
    module = nn.ModuleDict({"a": nn.Linear(4, 2)})
    with pytest.raises(CheckpointError, match=r"a\.weight: expected \(2, 4\), got \(2, 3\)"):
        load_strict(module, weights, "x")


def test_folder_is_taken_as_it_is(tmp_path):
    assert resolve_checkpoint(tmp_path) == tmp_path
    assert resolve_checkpoint(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    "name", ["/no/such/folder", "./x/y", "just-a-name", "a/b/c", "", "~nobody"]
)
def test_neither_folder_nor_hub_name(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no folder"):
        resolve_checkpoint(name)


def test_file_instead_of_folder(tmp_path):
    path = tmp_path / "model.safetensors"
    path.touch()
    with pytest.raises(CheckpointError, match="is a file; expected a checkpoint folder"):
        resolve_checkpoint(path)


def test_a_file_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(1)}, path)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # file modes do not bind root
    with pytest.raises(CheckpointError, match="cannot be read: Permission denied"):
        load_weights(path)
