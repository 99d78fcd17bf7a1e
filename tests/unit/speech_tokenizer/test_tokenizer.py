"""SpeechTokenizer: lengths, batches, audio of all kinds, and checkpoints that are wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from antiphon.errors import AudioError, CheckpointError, ConfigError
from speech_tokenizer import SpeechTokenizer
from tests.tiny_speech_tokenizer import SEGMENT, noise, write_checkpoint


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("speech") / "tokenizer")


@pytest.fixture(scope="session")
def tokenizer(folder: Path) -> SpeechTokenizer:
    return SpeechTokenizer.from_pretrained(folder)


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "tokenizer")


def expected_tokens(n_samples: int) -> int:
    full, rest = divmod(n_samples, SEGMENT)
    return full * 20 + -(-rest // 1280)


def test_describes_itself(tokenizer: SpeechTokenizer) -> None:
    assert tokenizer.frame_rate == 12.5
    assert tokenizer.sample_rate == 16_000
    assert tokenizer.codebook_size == 64
    assert not tokenizer.model.training


@given(st.lists(st.integers(1, 3 * SEGMENT), min_size=1, max_size=5))
@settings(max_examples=15, deadline=None)
def test_batch_equals_single_and_every_1280_samples_give_a_token(
    tokenizer: SpeechTokenizer, lengths: list[int]
) -> None:
    waveforms = [noise(n_samples, seed) for seed, n_samples in enumerate(lengths)]
    batch = tokenizer.encode_batch(waveforms, 16_000)
    assert [len(tokens) for tokens in batch] == [expected_tokens(n) for n in lengths]
    for waveform, tokens in zip(waveforms, batch, strict=True):
        assert torch.equal(tokens, tokenizer.encode(waveform, 16_000))


@pytest.mark.parametrize("n_samples", [1, 1279, 1280, 1281, SEGMENT, SEGMENT + 1])
def test_edges_of_tokens_and_segments(tokenizer: SpeechTokenizer, n_samples: int) -> None:
    tokens = tokenizer.encode(noise(n_samples), 16_000)
    assert tokens.dtype == torch.int64 and tokens.device.type == "cpu"
    assert tokens.shape == (expected_tokens(n_samples),)
    assert tokens.min() >= 0 and tokens.max() < 64


def test_tokens_depend_on_the_sound(tokenizer: SpeechTokenizer) -> None:
    first, second = (tokenizer.encode(noise(SEGMENT, seed), 16_000) for seed in (0, 1))
    assert len(first.unique()) > 8
    assert (first != second).float().mean() > 0.5


def test_no_utterances_give_no_tokens(tokenizer: SpeechTokenizer) -> None:
    assert tokenizer.encode_batch([], 16_000) == []


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_any_sample_rate(tokenizer: SpeechTokenizer, rate: int) -> None:
    tokens = tokenizer.encode(noise(rate), rate)
    assert len(tokens) == 13  # one second


def test_the_first_channel_counts(tokenizer: SpeechTokenizer) -> None:
    first, second = noise(5000), noise(5000, seed=1)
    alone = tokenizer.encode(first, 16_000)
    assert torch.equal(tokenizer.encode(torch.stack([first, second]), 16_000), alone)
    assert torch.equal(tokenizer.encode(torch.stack([0 * first, first]), 16_000), alone)
    assert torch.equal(tokenizer.encode(first[None].numpy(), 16_000), alone)


def test_integers_are_taken_at_full_scale(tokenizer: SpeechTokenizer) -> None:
    pcm = (noise(5000) * 32768).to(torch.int16)
    expected = tokenizer.encode(pcm.float() / 32768, 16_000)
    assert torch.equal(tokenizer.encode(pcm, 16_000), expected)
    assert torch.equal(tokenizer.encode(pcm.numpy(), 16_000), expected)


def test_the_callers_array_is_left_alone(tokenizer: SpeechTokenizer) -> None:
    waveform = noise(2000).numpy()
    waveform.setflags(write=False)
    tokenizer.encode(waveform, 16_000)


def test_silence_is_valid(tokenizer: SpeechTokenizer) -> None:
    assert len(tokenizer.encode(torch.zeros(16_000), 16_000)) == 13


@pytest.mark.parametrize(
    ("waveform", "words"),
    [
        (torch.zeros(0), "no samples"),
        (torch.zeros(2, 0), "no samples"),
        (torch.zeros(0, 100), "no channels"),
        (torch.zeros(16_000, 2), "transpose"),
        (torch.zeros(1, 2, 3), "shape"),
        (torch.tensor([0.0, float("nan")]), "not numbers"),
        (torch.tensor([0.0, float("inf")]), "not numbers"),
        (np.array([1 + 1j, 0]), "complex"),
    ],
)
def test_unusable_audio_is_refused_in_words(
    tokenizer: SpeechTokenizer, waveform: Tensor, words: str
) -> None:
    with pytest.raises(AudioError, match=words):
        tokenizer.encode(waveform, 16_000)


def test_the_bad_one_of_a_batch_is_named(tokenizer: SpeechTokenizer) -> None:
    with pytest.raises(AudioError, match="utterance 2"):
        tokenizer.encode_batch([noise(100), noise(100), torch.zeros(0)], 16_000)


def test_twenty_minutes_are_refused(tokenizer: SpeechTokenizer) -> None:
    with pytest.raises(AudioError, match=r"20:00 min.*10:00 min"):
        tokenizer.encode(torch.zeros(20 * 60 * 8000), 8000)


@pytest.mark.parametrize("rate", [0, -16_000, 10**9])
def test_impossible_rates_are_refused(tokenizer: SpeechTokenizer, rate: int) -> None:
    with pytest.raises(AudioError, match="sample rate"):
        tokenizer.encode(noise(100), rate)


# Checkpoints.


def test_training_layout_gives_the_same_tokens(
    own_folder: Path, tokenizer: SpeechTokenizer
) -> None:
    file = own_folder / "model.safetensors"
    tensors = {f"model.encoder.{key}": value for key, value in load_file(file).items()}
    tensors["model.encoder.layers.2.fc1.bias"] = torch.zeros(48)
    tensors["model.encoder.layer_norm.weight"] = torch.zeros(32)
    tensors["model.decoder.embed_tokens.weight"] = torch.zeros(5, 5)
    tensors["proj_out.weight"] = torch.zeros(5, 5)
    save_file(tensors, file)
    other = SpeechTokenizer.from_pretrained(own_folder)
    assert torch.equal(
        other.encode(noise(SEGMENT), 16_000), tokenizer.encode(noise(SEGMENT), 16_000)
    )


def test_statistics_may_be_absent(own_folder: Path, tokenizer: SpeechTokenizer) -> None:
    file = own_folder / "model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if not k.startswith("ema_")}, file)
    other = SpeechTokenizer.from_pretrained(str(own_folder))
    assert torch.equal(
        other.encode(noise(SEGMENT), 16_000), tokenizer.encode(noise(SEGMENT), 16_000)
    )
    assert torch.equal(other.model.ema_weight, other.model.codebook.weight)


def test_shards(own_folder: Path, tokenizer: SpeechTokenizer) -> None:
    file = own_folder / "model.safetensors"
    tensors = load_file(file)
    keys = sorted(tensors)
    shards = {"a.safetensors": keys[:9], "b.safetensors": keys[9:]}
    for name, names in shards.items():
        save_file({key: tensors[key].clone() for key in names}, own_folder / name)
    table = {key: name for name, names in shards.items() for key in names}
    (own_folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    file.unlink()
    other = SpeechTokenizer.from_pretrained(own_folder)
    assert torch.equal(other.encode(noise(9999), 16_000), tokenizer.encode(noise(9999), 16_000))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_smaller_types_agree_mostly(
    folder: Path, tokenizer: SpeechTokenizer, dtype: torch.dtype
) -> None:
    small = SpeechTokenizer.from_pretrained(folder, dtype=dtype)
    assert small.model.conv1.weight.dtype == dtype
    assert small.model.codebook.weight.dtype == torch.float32
    same = small.encode(noise(SEGMENT), 16_000) == tokenizer.encode(noise(SEGMENT), 16_000)
    assert same.float().mean() > 0.7


def _drop(tensors: dict[str, Tensor]) -> None:
    del tensors["layers.1.fc2.weight"]


def _reshape(tensors: dict[str, Tensor]) -> None:
    tensors["conv1.weight"] = torch.zeros(32, 80, 3)


def _add(tensors: dict[str, Tensor]) -> None:
    tensors["transformer.wte"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_drop, r"layers\.1\.fc2\.weight"),
        (_reshape, r"conv1\.weight.*\(32, 32, 3\).*\(32, 80, 3\)"),
        (_add, r"transformer\.wte"),
    ],
)
def test_wrong_keys_are_named(
    own_folder: Path, spoil: Callable[[dict[str, Tensor]], None], words: str
) -> None:
    file = own_folder / "model.safetensors"
    tensors = load_file(file)
    spoil(tensors)
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=words):
        SpeechTokenizer.from_pretrained(own_folder)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_refused(own_folder: Path, share: float) -> None:
    file = own_folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        SpeechTokenizer.from_pretrained(own_folder)


def test_missing_files_are_named(own_folder: Path) -> None:
    (own_folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        SpeechTokenizer.from_pretrained(own_folder)
    (own_folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        SpeechTokenizer.from_pretrained(own_folder)
    with pytest.raises(CheckpointError, match="nowhere"):
        SpeechTokenizer.from_pretrained(own_folder / "nowhere")
    with pytest.raises(CheckpointError, match="is a file"):
        (own_folder / "file").touch()
        SpeechTokenizer.from_pretrained(own_folder / "file")


def test_features_of_another_kind_are_refused(own_folder: Path) -> None:
    settings_file = own_folder / "preprocessor_config.json"
    settings_file.write_text(json.dumps({"feature_size": 80, "sampling_rate": 16_000}))
    with pytest.raises(CheckpointError, match="feature_size is 80; expected 32"):
        SpeechTokenizer.from_pretrained(own_folder)
    settings_file.write_text("[")
    with pytest.raises(CheckpointError, match="preprocessor_config"):
        SpeechTokenizer.from_pretrained(own_folder)


@pytest.mark.parametrize("device", ["nonsense", "cuda:999"])
def test_devices_that_are_not_there_are_refused(folder: Path, device: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used here"):
        SpeechTokenizer.from_pretrained(folder, device=device)


def test_types_that_make_no_sense_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"torch\.int64.*torch\.bfloat16"):
        SpeechTokenizer.from_pretrained(folder, dtype=torch.int64)
