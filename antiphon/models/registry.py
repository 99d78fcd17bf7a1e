"""The one place where a model is chosen by name. Knows where parts lie, not how they work."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.errors import ConfigError
from antiphon.models.base import DialogueTokenizer, SpeechDecoder, SpeechEncoder
from antiphon.models.glm4voice import loader
from antiphon.models.glm4voice.loader import ModelPaths

if TYPE_CHECKING:
    from transformers import GlmForCausalLM

MODELS: dict[str, Callable[[], ModelPaths]] = {
    "embedded": loader.default_paths,
    "glm4voice": loader.official_paths,
}
"""Name of a model to a function that says where its parts lie."""

DEFAULT_MODEL = "embedded"


@dataclass(frozen=True)
class ModelBundle:
    """The loaded parts of one model.

    Attributes:
        paths: Where the parts came from.
        text_tokenizer: Text to ids and back; its `layout` says where special ids lie.
        speech_tokenizer: Waveform to speech tokens.
        decoder: Speech tokens to waveform.
        language_model: The network, or None when it runs elsewhere (behind a model server).
    """

    paths: ModelPaths
    text_tokenizer: DialogueTokenizer
    speech_tokenizer: SpeechEncoder
    decoder: SpeechDecoder
    language_model: "GlmForCausalLM | None"


def find_paths(
    name: str = DEFAULT_MODEL,
    *,
    tokenizer_path: str | Path | None = None,
    model_path: str | Path | None = None,
    decoder_path: str | Path | None = None,
) -> ModelPaths:
    """Say where the parts of a model lie.

    Args:
        name: A key of `MODELS`.
        tokenizer_path: Speech tokenizer to use instead, a folder or hub name.
        model_path: Language model to use instead.
        decoder_path: Decoder to use instead.

    Raises:
        ConfigError: If the name is unknown; lists the known ones.
        CheckpointError: If the embedded model is wanted and not there.
    """
    if name not in MODELS:
        raise ConfigError(f"unknown model {name!r}; choose one of {', '.join(MODELS)}")
    given = {
        "speech_tokenizer": tokenizer_path,
        "language_model": model_path,
        "decoder": decoder_path,
    }
    overrides = {part: str(path) for part, path in given.items() if path is not None}
    if len(overrides) == len(given):
        return ModelPaths(**overrides)
    return replace(MODELS[name](), **overrides)


def load(
    name: str = DEFAULT_MODEL,
    *,
    paths: ModelPaths | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    with_language_model: bool = True,
    progress: bool = True,
) -> ModelBundle:
    """Load a model.

    Args:
        name: A key of `MODELS`; unused when `paths` are given.
        paths: Where the parts lie, if not where `name` says.
        dtype: How to hold the language model: float32, bfloat16, float16, int8 or int4.
        device: Where all parts run.
        with_language_model: False leaves the language model out.
        progress: Show a progress bar for the language model.

    Raises:
        ConfigError: If the name, dtype or device is unknown.
        CheckpointError: If a part is missing, damaged or does not fit.
    """
    paths = paths or find_paths(name)
    language_model = None
    if with_language_model:
        from antiphon.models.glm4voice.language_model import load_language_model

        language_model = load_language_model(paths.language_model, dtype, device, progress)
    return ModelBundle(
        paths=paths,
        text_tokenizer=loader.load_text_tokenizer(paths.language_model),
        speech_tokenizer=loader.load_speech_tokenizer(paths.speech_tokenizer, device),
        decoder=loader.load_decoder(paths.decoder, device),
        language_model=language_model,
    )
