"""Choosing a model by name and loading its parts."""

from dataclasses import dataclass

import pytest

from antiphon.errors import ConfigError
from antiphon.models import registry
from antiphon.models.glm4voice import loader
from antiphon.models.glm4voice.loader import ModelPaths
from tests.tiny_checkpoints import write_tiny_lm, write_tiny_speech_tokenizer


@dataclass(frozen=True)
class FakeDecoder:
    """Stands for the decoder, which has tests of its own."""

    path: str
    device: str


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "load_decoder", FakeDecoder)
    return ModelPaths(
        speech_tokenizer=str(write_tiny_speech_tokenizer(tmp_path / "tokenizer")),
        language_model=str(write_tiny_lm(tmp_path / "lm")),
        decoder=str(tmp_path / "decoder"),
    )


def test_embedded_is_the_default(tmp_path, monkeypatch):
    (tmp_path / "embedded").mkdir()
    monkeypatch.setenv(loader.RESOURCES_VARIABLE, str(tmp_path))
    assert registry.find_paths() == loader.default_paths()


def test_parts_can_be_replaced(tmp_path):
    paths = registry.find_paths("glm4voice", model_path=tmp_path)
    assert paths.language_model == str(tmp_path)
    assert paths.decoder == "zai-org/glm-4-voice-decoder"


def test_replacing_all_parts_needs_no_embedded_model(monkeypatch, tmp_path):
    monkeypatch.setenv(loader.RESOURCES_VARIABLE, str(tmp_path / "gone"))
    paths = registry.find_paths(tokenizer_path="a", model_path="b", decoder_path="c")
    assert paths == ModelPaths(speech_tokenizer="a", language_model="b", decoder="c")


def test_unknown_name_is_refused_with_the_list():
    with pytest.raises(ConfigError, match="choose one of embedded, glm4voice"):
        registry.load("gpt")


def test_all_parts_load_and_fit(paths):
    bundle = registry.load(paths=paths, progress=False)
    assert bundle.language_model is not None
    assert bundle.language_model.config.vocab_size == bundle.text_tokenizer.vocab_size
    assert bundle.decoder == FakeDecoder(paths.decoder, "cpu")
    assert bundle.paths == paths


def test_front_end_loads_no_language_model(paths):
    bundle = registry.load(paths=paths, with_language_model=False)
    assert bundle.language_model is None
    assert bundle.text_tokenizer.layout.n_audio == 64
