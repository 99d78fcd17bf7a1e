"""The vocoder against the reference numbers, each within its stated tolerance."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cosyvoice.hifigan.f0_predictor import ConvRNNF0Predictor
from cosyvoice.hifigan.generator import HiFTGenerator
from cosyvoice.hifigan.source import SourceDraws

Numbers = dict[str, Tensor]


@pytest.fixture(scope="module")
def hift(parity_dir: Path) -> HiFTGenerator:
    """The kit's vocoder with its weights."""
    model = HiFTGenerator(base_channels=48, f0_predictor=ConvRNNF0Predictor(cond_channels=48))
    model.load_state_dict(load_file(parity_dir / "public/decoder/hift.safetensors"))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def numbers(parity_dir: Path) -> Numbers:
    """Inputs and outputs."""
    return load_file(parity_dir / "public/decoder/hift.io.safetensors")


def largest(got: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference."""
    assert got.shape == wanted.shape
    return float((got - wanted).abs().max())


def test_full_size_keys_and_shapes(parity_dir: Path) -> None:
    with torch.device("meta"):
        model = HiFTGenerator(f0_predictor=ConvRNNF0Predictor())
    wanted = json.loads((parity_dir / "keys/hift_keys.json").read_text())
    got = [[key, list(value.shape), "float32"] for key, value in model.state_dict().items()]
    assert got == wanted


def test_f0(hift: HiFTGenerator, numbers: Numbers) -> None:
    assert largest(hift.predict_f0(numbers["mel"]), numbers["f0"]) < 1e-3


def test_source(hift: HiFTGenerator, numbers: Numbers) -> None:
    draws = SourceDraws(numbers["phase_draw"], numbers["noise_draw"])
    assert largest(hift.source(numbers["f0"], draws), numbers["source"]) < 5e-3


def test_source_spectrum(hift: HiFTGenerator, numbers: Numbers) -> None:
    wanted = torch.cat([numbers["source_stft_real"], numbers["source_stft_imag"]], dim=1)
    assert largest(hift.source_spectrum(numbers["source"]), wanted) < 1e-4


@pytest.mark.parametrize("prefix", ["", "cache."])
def test_speech(hift: HiFTGenerator, numbers: Numbers, prefix: str) -> None:
    speech = hift.decode(numbers["mel"], numbers[prefix + "source"])
    assert largest(speech, numbers[prefix + "speech"]) < 1e-4


def test_speech_without_weight_norm(parity_dir: Path, numbers: Numbers) -> None:
    model = HiFTGenerator(base_channels=48, f0_predictor=ConvRNNF0Predictor(cond_channels=48))
    model.load_state_dict(load_file(parity_dir / "public/decoder/hift.safetensors"))
    model.eval().requires_grad_(False).remove_weight_norm()
    assert largest(model.decode(numbers["mel"], numbers["source"]), numbers["speech"]) < 1e-4


def test_cached_source_is_copied(hift: HiFTGenerator, numbers: Numbers) -> None:
    cache = numbers["cache.cache_source"]
    speech, source = hift.inference(numbers["mel"], cache, torch.Generator().manual_seed(1))
    assert torch.equal(source[:, :, : cache.shape[2]], cache)
    assert speech.shape == (1, numbers["mel"].shape[2] * 256)
