"""Puts the parts of a GLM-4-Voice checkpoint together: where they lie, and how each is loaded.

Every path may be a folder or a hub name. Parts are imported when they are loaded, so that a model
server needs no speech code and a front end no language model.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import antiphon
from antiphon.checkpoints import resolve_checkpoint
from antiphon.errors import CheckpointError
from antiphon.models.base import SpeechDecoder, SpeechEncoder
from antiphon.models.glm4voice.spec import OFFICIAL_HUB_NAMES
from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer

RESOURCES_VARIABLE = "ANTIPHON_RESOURCES"
TEXT_TOKENIZER_FILES = ("config.json", "tokenizer_config.json", "tokenizer.model")


@dataclass(frozen=True)
class ModelPaths:
    """Where the three parts of a model lie; each a folder or a hub name.

    Attributes:
        speech_tokenizer: Waveform to speech tokens.
        language_model: Language model and text tokenizer.
        decoder: Speech tokens to waveform.
    """

    speech_tokenizer: str
    language_model: str
    decoder: str


@dataclass(frozen=True)
class SpeechParts:
    """The two speech sides of a model."""

    speech_tokenizer: SpeechEncoder
    decoder: SpeechDecoder


def find_resources() -> Path:
    """Find the folder that holds `embedded/`.

    It is the folder named by `ANTIPHON_RESOURCES`, else `resources/` of the repository, else
    `share/antiphon/resources` of the Python installation.

    Raises:
        CheckpointError: If none of them holds `embedded/`; names them.
    """
    named = os.environ.get(RESOURCES_VARIABLE)
    beside_package = Path(antiphon.__file__).resolve().parent.parent / "resources"
    installed = Path(sys.prefix) / "share" / "antiphon" / "resources"
    candidates = [Path(named).expanduser()] if named else [beside_package, installed]
    for folder in candidates:
        if (folder / "embedded").is_dir():
            return folder
    looked_in = " or ".join(str(folder / "embedded") for folder in candidates)
    raise CheckpointError(
        f"the embedded model is not in {looked_in}; set {RESOURCES_VARIABLE} to the `resources` "
        "folder of the repository, or give the paths of another model"
    )


def default_paths() -> ModelPaths:
    """Give the paths of the small model that ships with the repository.

    Raises:
        CheckpointError: If it is not there.
    """
    folder = find_resources() / "embedded"
    return ModelPaths(
        speech_tokenizer=str(folder / "tokenizer"),
        language_model=str(folder / "lm"),
        decoder=str(folder / "decoder"),
    )


def official_paths() -> ModelPaths:
    """Give the hub names of the official GLM-4-Voice checkpoints."""
    return ModelPaths(
        speech_tokenizer=OFFICIAL_HUB_NAMES.speech_tokenizer,
        language_model=OFFICIAL_HUB_NAMES.language_model,
        decoder=OFFICIAL_HUB_NAMES.decoder,
    )


def load_text_tokenizer(path: str | Path) -> GlmTextTokenizer:
    """Load the text tokenizer of a language model; fetches no weights.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    return GlmTextTokenizer.from_pretrained(
        resolve_checkpoint(path, allow_patterns=TEXT_TOKENIZER_FILES)
    )


def load_speech_tokenizer(path: str | Path, device: str = "cpu") -> SpeechEncoder:
    """Load the speech tokenizer.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    from speech_tokenizer import SpeechTokenizer

    return SpeechTokenizer.from_pretrained(resolve_checkpoint(path), device=device)


def load_decoder(path: str | Path, device: str = "cpu") -> SpeechDecoder:
    """Load the flow-matching decoder with its vocoder.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    from flow_inference import AudioDecoder

    return AudioDecoder.from_pretrained(resolve_checkpoint(path), device=device)


def load_speech(
    tokenizer_path: str | Path, decoder_path: str | Path, device: str = "cpu"
) -> SpeechParts:
    """Load both speech sides.

    Raises:
        CheckpointError: If one of them is missing or damaged.
    """
    return SpeechParts(
        speech_tokenizer=load_speech_tokenizer(tokenizer_path, device),
        decoder=load_decoder(decoder_path, device),
    )
