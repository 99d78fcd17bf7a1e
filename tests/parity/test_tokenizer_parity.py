"""The speech tokenizer against the reference numbers: features, states, ids, and full-size keys."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import WhisperFeatureExtractor

from speech_tokenizer import SpeechTokenizer
from speech_tokenizer.configuration_whisper import WhisperVQConfig
from speech_tokenizer.features import extract_features, mel_filters
from speech_tokenizer.modeling_whisper import WhisperVQEncoder
from speech_tokenizer.utils import extract_speech_token

RATE = 16_000
MEL_TOLERANCE = 1e-5
STATE_TOLERANCE = 1e-4
STATES = ("after_conv2", "hidden_before_vq", "last_hidden_state")


@pytest.fixture(scope="module")
def tokenizer(parity_dir: Path) -> SpeechTokenizer:
    return SpeechTokenizer.from_pretrained(parity_dir / "public" / "tokenizer")


@pytest.fixture(scope="module")
def mel(parity_dir: Path) -> dict[str, Tensor]:
    return load_file(parity_dir / "public" / "mel" / "mel_features.safetensors")


@pytest.fixture(scope="module")
def utterances(parity_dir: Path) -> list[Tensor]:
    folder = parity_dir / "public" / "tokenizer"
    stored = load_file(folder / "long_waveforms.safetensors")
    return [stored[f"utt{number}.waveform_int16"].float() / 32768 for number in range(len(stored))]


@pytest.fixture(scope="module")
def token_ids(parity_dir: Path) -> dict:
    return json.loads((parity_dir / "public" / "tokenizer" / "token_ids.json").read_text())


def largest_error(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max())


def test_filters(parity_dir: Path) -> None:
    expected = load_file(parity_dir / "public" / "mel" / "mel_filters.safetensors")["mel_filters"]
    assert largest_error(mel_filters(128).T, expected) <= 1e-8


@pytest.mark.parametrize("case", ["single", "batch"])
def test_features(mel: dict[str, Tensor], case: str) -> None:
    names = ["single.waveform_int16", "batch.waveform1_int16"][: 1 if case == "single" else 2]
    found = extract_features([mel[name].float() / 32768 for name in names])
    expected = mel[f"{case}.input_features"]
    assert largest_error(found.input_features, expected) <= MEL_TOLERANCE
    assert torch.equal(found.attention_mask, mel[f"{case}.attention_mask"])


@pytest.mark.parametrize("case", ["single", "batch"])
def test_states_and_ids(
    parity_dir: Path, tokenizer: SpeechTokenizer, mel: dict[str, Tensor], case: str
) -> None:
    expected = load_file(parity_dir / "public" / "tokenizer" / "encoder_outputs.safetensors")
    with torch.no_grad():
        found = tokenizer.model(mel[f"{case}.input_features"], mel[f"{case}.attention_mask"])
    for name in STATES:
        error = largest_error(getattr(found, name), expected[f"{case}.{name}"])
        assert error <= STATE_TOLERANCE, name
    assert torch.equal(found.quantized_token_ids, expected[f"{case}.quantized_token_ids"])


def test_ids_alone_and_in_a_batch(
    tokenizer: SpeechTokenizer, utterances: list[Tensor], token_ids: dict
) -> None:
    alone = [tokenizer.encode(waveform, RATE).tolist() for waveform in utterances]
    assert alone == token_ids["single"]
    together = tokenizer.encode_batch(utterances, RATE)
    assert [ids.tolist() for ids in together] == token_ids["batch"]


def test_ids_of_prefixes(
    tokenizer: SpeechTokenizer, utterances: list[Tensor], token_ids: dict
) -> None:
    for n_samples, expected in token_ids["prefix_of_utt2"].items():
        found = tokenizer.encode(utterances[2][: int(n_samples)], RATE)
        assert found.tolist() == expected, n_samples


@pytest.mark.parametrize("is_foreign", [False, True])
def test_the_original_call(
    parity_dir: Path,
    tokenizer: SpeechTokenizer,
    utterances: list[Tensor],
    token_ids: dict,
    is_foreign: bool,
) -> None:
    folder = parity_dir / "public" / "tokenizer"
    extractor = WhisperFeatureExtractor.from_pretrained(folder) if is_foreign else None
    pairs = [(waveform[None], RATE) for waveform in utterances]
    assert extract_speech_token(tokenizer.model, extractor, pairs) == token_ids["batch"]


def test_full_size_keys_and_shapes(parity_dir: Path) -> None:
    with torch.device("meta"):
        state = WhisperVQEncoder(WhisperVQConfig()).state_dict()
    found = [[key, list(value.shape), "float32"] for key, value in state.items()]
    assert found == json.loads((parity_dir / "keys" / "tokenizer_keys.json").read_text())
