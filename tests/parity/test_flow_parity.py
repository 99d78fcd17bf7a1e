"""The decoder from tokens to mel computes the numbers of the original."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from antiphon.checkpoints import load_strict, load_weights
from cosyvoice.config import load_decoder_config
from cosyvoice.flow.flow import MaskedDiffWithXvec
from tests.flow_shapes import full_size_flow

CASES = ("no_prompt", "prompt", "short_prompt_feat", "speaker")


@pytest.fixture(scope="module")
def folder(parity_dir: Path) -> Path:
    return parity_dir / "public" / "decoder"


@pytest.fixture(scope="module")
def flow(folder: Path) -> MaskedDiffWithXvec:
    model = load_decoder_config(folder / "config.yaml").build_flow()
    load_strict(model, load_weights(folder / "flow.safetensors"), "flow.safetensors")
    return model.eval()


def difference(got: Tensor, expected: Tensor) -> float:
    assert got.shape == expected.shape
    return float((got - expected).abs().max())


@torch.no_grad()
def test_encoder(flow: MaskedDiffWithXvec, folder: Path) -> None:
    data = load_file(folder / "encoder.safetensors")
    got, _ = flow.encoder(data["xs"], data["xs_lens"])
    assert difference(got, data["ys"]) < 1e-5
    n_frames = torch.tensor([data["single.xs"].shape[1]])
    assert difference(flow.encoder(data["single.xs"], n_frames)[0], data["single.ys"]) < 1e-5


@torch.no_grad()
def test_length_regulator(flow: MaskedDiffWithXvec, folder: Path) -> None:
    data = load_file(folder / "length_regulator.safetensors")
    got, lens = flow.length_regulator(data["x"], data["ylens"])
    assert torch.equal(lens, data["olens"])
    assert difference(got, data["y"]) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("parity", ["even", "odd"])
def test_estimator(flow: MaskedDiffWithXvec, folder: Path, parity: str) -> None:
    data = load_file(folder / "estimator.safetensors")
    x, mask, mu, t, spks, cond = (
        data[f"{parity}.{name}"] for name in ("x", "mask", "mu", "t", "spks", "cond")
    )
    estimator = flow.decoder.estimator
    expected = data[f"{parity}.y"]
    assert difference(estimator(x, mask, mu, t, spks, cond), expected) < 1e-4
    assert difference(estimator(x, None, mu, t, spks, cond), expected) < 1e-4
    one = estimator(x[:1], mask[:1], mu[:1], t[0], spks[:1], cond[:1])
    assert difference(one, data[f"{parity}.scalar_t_y"]) < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("parity", ["even", "odd"])
def test_padded_estimator_in_compatibility_mode(folder: Path, parity: str) -> None:
    config = load_decoder_config(folder / "config.yaml")
    flow = config.build_flow(additive_mask_compat=True)
    flow.load_state_dict(load_weights(folder / "flow.safetensors"))
    data = load_file(folder / "estimator.safetensors")
    x, mask, mu, t, spks, cond = (
        data[f"{parity}.{name}"] for name in ("x", "padded.mask", "mu", "t", "spks", "cond")
    )
    got = flow.eval().decoder.estimator(x, mask, mu, t, spks, cond)
    assert difference(got, data[f"{parity}.padded.y"]) < 1e-4


def test_solver(flow: MaskedDiffWithXvec, folder: Path) -> None:
    data = load_file(folder / "cfm.safetensors")
    got = flow.decoder(
        data["mu"],
        data["mask"],
        int(data["n_timesteps"]),
        spks=data["spks"],
        cond=data["cond"],
        noise=data["z"],
    )
    assert difference(got, data["y"]) < 2e-4


@pytest.mark.parametrize("case", CASES)
def test_tokens_to_mel(flow: MaskedDiffWithXvec, folder: Path, case: str) -> None:
    data = load_file(folder / "flow_inference.safetensors")
    prefix = f"{case}."
    part = {key[len(prefix) :]: value for key, value in data.items() if key.startswith(prefix)}
    got = flow.inference(
        part["token"],
        torch.tensor([part["token"].shape[1]]),
        part["prompt_token"],
        torch.tensor([part["prompt_token"].shape[1]]),
        part["prompt_feat"],
        torch.tensor([part["prompt_feat"].shape[1]]),
        part["embedding"],
        noise=part["z"],
    )
    assert difference(got, part["mel"]) < 2e-4


def test_offline_mel(flow: MaskedDiffWithXvec, folder: Path) -> None:
    data = load_file(folder / "offline.safetensors")
    none = torch.zeros(1, 0, dtype=torch.long)
    got = flow.inference(
        data["token"],
        torch.tensor([data["token"].shape[1]]),
        none,
        torch.tensor([0]),
        torch.zeros(1, 0, 80),
        torch.tensor([0]),
        torch.zeros(1, 192),
        noise=data["z"],
    )
    assert difference(got, data["mel"]) < 2e-4


def test_full_size_keys(parity_dir: Path) -> None:
    expected = json.loads((parity_dir / "keys" / "flow_keys.json").read_text(encoding="utf-8"))
    state = full_size_flow().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == {
        key: shape for key, shape, _ in expected
    }
