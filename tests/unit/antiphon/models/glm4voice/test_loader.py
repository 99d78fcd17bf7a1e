"""Where the parts of a model are found, and loading each of them."""

import numpy as np
import pytest

from antiphon.errors import CheckpointError
from antiphon.models.glm4voice import loader
from tests.tiny_checkpoints import write_tiny_lm, write_tiny_speech_tokenizer

SILENCE = np.zeros(1600, dtype=np.float32)


def test_resources_named_by_the_environment(tmp_path, monkeypatch):
    (tmp_path / "embedded").mkdir()
    monkeypatch.setenv(loader.RESOURCES_VARIABLE, str(tmp_path))
    paths = loader.default_paths()
    assert paths.language_model == str(tmp_path / "embedded" / "lm")
    assert paths.speech_tokenizer == str(tmp_path / "embedded" / "tokenizer")
    assert paths.decoder == str(tmp_path / "embedded" / "decoder")


def test_resources_beside_the_package(tmp_path, monkeypatch):
    monkeypatch.delenv(loader.RESOURCES_VARIABLE, raising=False)
    monkeypatch.setattr(loader.antiphon, "__file__", str(tmp_path / "antiphon" / "__init__.py"))
    monkeypatch.setattr(loader.sys, "prefix", str(tmp_path / "python"))
    installed = tmp_path / "python" / "share" / "antiphon" / "resources"
    (installed / "embedded").mkdir(parents=True)
    assert loader.find_resources() == installed
    (tmp_path / "resources" / "embedded").mkdir(parents=True)
    assert loader.find_resources() == tmp_path / "resources"


def test_missing_resources_are_said_in_words(tmp_path, monkeypatch):
    monkeypatch.setenv(loader.RESOURCES_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(CheckpointError, match=r"gone.embedded; set ANTIPHON_RESOURCES"):
        loader.default_paths()


def test_official_names():
    assert loader.official_paths().language_model == "zai-org/glm-4-voice-9b"


def test_text_tokenizer_loads_without_weights(tmp_path):
    folder = write_tiny_lm(tmp_path)
    (folder / "model.safetensors").unlink()
    tokenizer = loader.load_text_tokenizer(folder)
    assert tokenizer.decode(tokenizer.encode("hello")) == "hello"
    assert tokenizer.layout.n_audio == 64


def test_speech_tokenizer_loads(tmp_path):
    folder = write_tiny_speech_tokenizer(tmp_path)
    assert loader.load_speech_tokenizer(folder).encode(SILENCE, 16_000).shape == (2,)


def test_both_speech_sides_load(tiny_checkpoints):
    parts = loader.load_speech(tiny_checkpoints / "tokenizer", tiny_checkpoints / "decoder")
    assert parts.decoder.sample_rate == 22_050
    assert parts.speech_tokenizer.encode(SILENCE, 16_000).shape == (2,)


@pytest.mark.parametrize(
    "load", [loader.load_text_tokenizer, loader.load_speech_tokenizer, loader.load_decoder]
)
def test_empty_folder_is_named(tmp_path, load):
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        load(tmp_path)
