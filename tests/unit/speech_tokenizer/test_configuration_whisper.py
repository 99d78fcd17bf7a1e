"""WhisperVQConfig: the official file's fields, and the values refused."""

import json
from pathlib import Path

import pytest

from antiphon.errors import CheckpointError, ConfigError
from speech_tokenizer.configuration_whisper import WhisperVQConfig


def test_official_sizes_give_12_5_tokens_a_second() -> None:
    config = WhisperVQConfig()
    assert config.frame_size == 1280
    assert config.frame_rate == 12.5
    assert config.max_samples == 30 * 16_000
    assert config.max_tokens == 375


def test_other_official_keys_are_left_out() -> None:
    config = WhisperVQConfig.from_dict({"d_model": 64, "encoder_attention_heads": 4, "mask_x": 1})
    assert config.d_model == 64


def test_survives_a_file(tmp_path: Path) -> None:
    config = WhisperVQConfig(d_model=96, encoder_attention_heads=3, quantize_causal_block_size=None)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    assert WhisperVQConfig.from_json(tmp_path) == config
    assert WhisperVQConfig.from_json(tmp_path / "config.json") == config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("activation_function", "relu"),
        ("pooling_type", "max"),
        ("d_model", 0),
        ("d_model", "1280"),
        ("d_model", 1281),
        ("pooling_position", 17),
        ("quantize_causal_block_size", -1),
        ("quantize_vocab_size", True),
    ],
)
def test_refuses_what_it_would_compute_wrongly(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        WhisperVQConfig.from_dict({name: value})


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"d_model": '])
def test_refuses_a_damaged_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        WhisperVQConfig.from_json(tmp_path)


def test_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*config\.json"):
        WhisperVQConfig.from_json(tmp_path)
