"""Weights cut into files of bounded size come back whole."""

import json

import pytest
import torch

from antiphon.checkpoints import find_weight_files, load_weights
from antiphon.training import shards


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(1)
    return {f"t{n}": torch.randn(100, generator=generator) for n in range(5)}


def loaded(folder):
    found = {}
    for file in find_weight_files(folder):
        found |= load_weights(file)
    return found


def test_shards_are_small_and_complete(tensors, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_SHARD_BYTES", 900)  # two tensors of 400 bytes
    shards.save_shards(tensors, tmp_path)
    assert len(find_weight_files(tmp_path)) == 3
    found = loaded(tmp_path)
    assert set(found) == set(tensors)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 5 * 400


def test_what_fits_is_one_file_and_older_shards_are_gone(tensors, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shards, "MAX_SHARD_BYTES", 900)
        shards.save_shards(tensors, tmp_path)
    shards.save_shards(tensors, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert set(loaded(tmp_path)) == set(tensors)
