"""SpeechTokenizer: audio of any rate and length to speech tokens, in 30 s segments.

Knows waveforms and checkpoint folders; knows nothing of language models.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from antiphon.audio import Waveform, check_duration, check_waveform, resample, to_mono
from antiphon.checkpoints import resolve_checkpoint
from antiphon.errors import CheckpointError, ConfigError
from speech_tokenizer.features import HOP_LENGTH, N_FFT, SAMPLE_RATE
from speech_tokenizer.modeling_whisper import WhisperVQEncoder
from speech_tokenizer.token_stream import SpeechTokenStream
from speech_tokenizer.weights import load_encoder

PREPROCESSOR_NAME = "preprocessor_config.json"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class SpeechTokenizer:
    """Turns speech into discrete tokens.

    Attributes:
        model: The network.
        sample_rate: Rate it works at, 16,000 Hz; other rates are converted.
        frame_rate: Tokens a second, 12.5.
        codebook_size: Number of different tokens.
    """

    def __init__(self, model: WhisperVQEncoder) -> None:
        self.model = model.eval()
        self.sample_rate = SAMPLE_RATE
        self.frame_rate = model.config.frame_rate
        self.codebook_size = model.config.quantize_vocab_size

    @classmethod
    def from_pretrained(
        cls,
        directory: str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Load a checkpoint (config.json, model.safetensors) from a folder or by its hub name.

        Raises:
            CheckpointError: If the folder or its files are missing, damaged or do not fit together.
            ConfigError: If the device or the type of numbers is not available.
        """
        folder = resolve_checkpoint(directory)
        if dtype not in DTYPES:
            raise ConfigError(
                f"dtype {dtype}; expected one of {', '.join(str(choice) for choice in DTYPES)}"
            )
        model = load_encoder(folder, _check_device(device), dtype)
        _check_preprocessor(folder, model.config.num_mel_bins)
        return cls(model)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.model.conv1.weight.device

    def encode(self, waveform: Tensor | Waveform, sample_rate: int) -> Tensor:
        """Turn one utterance into tokens.

        Args:
            waveform: (n_samples,) or (n_channels, n_samples); of several channels the first
                counts, or the loudest where that one is silent. Float in [-1, 1], or integers.
            sample_rate: Its rate in Hz.

        Returns:
            (T,) int64 on the CPU; every 30 s segment of n samples at 16 kHz gives ceil(n / 1280).

        Raises:
            AudioError: If the audio is empty, not finite or longer than ten minutes.
        """
        return self._encode(self._prepare(waveform, sample_rate, "the audio"))

    def open_stream(self, sample_rate: int) -> SpeechTokenStream:
        """Open the state of one utterance that is tokenised while it is spoken.

        `encode` is such a stream fed at once, so that both give the same tokens, however the
        samples are cut. Use it as a context manager.

        Args:
            sample_rate: Rate in Hz of the samples that will be pushed.

        Raises:
            AudioError: If there is no such rate.
        """
        return SpeechTokenStream(self.model, sample_rate)

    def encode_batch(
        self, waveforms: Sequence[Tensor | Waveform], sample_rate: int
    ) -> list[Tensor]:
        """Turn several utterances into tokens, one after another; each gets what `encode` gives.

        `speech_tokenizer.utils.extract_speech_token` computes many at once; rounding may then tell
        two codes that are equally near apart in another way.
        """
        prepared = [
            self._prepare(waveform, sample_rate, f"utterance {number}" if number else "the audio")
            for number, waveform in enumerate(waveforms)
        ]
        return [self._encode(waveform) for waveform in prepared]

    def _encode(self, waveform: Tensor) -> Tensor:
        """Turn one utterance (n_samples,) at 16 kHz into tokens."""
        with self.open_stream(SAMPLE_RATE) as stream:
            return torch.cat([stream.push(waveform), stream.finish()])

    def _prepare(self, waveform: Tensor | Waveform, sample_rate: int, name: str) -> Tensor:
        """Check one utterance and bring it to one channel at 16 kHz."""
        if isinstance(waveform, Tensor):
            waveform = waveform.detach().cpu()
            samples = to_mono(
                (waveform.float() if waveform.is_floating_point() else waveform).numpy()
            )
        else:
            samples = to_mono(waveform)
        check_duration(samples.shape[0], sample_rate, name=name)
        samples = resample(check_waveform(samples, name), sample_rate, SAMPLE_RATE)
        return torch.from_numpy(np.array(samples, dtype=np.float32))


def _check_device(device: str | torch.device) -> torch.device:
    """Return the device if this machine has it."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {str(device)!r} cannot be used here ({reason}); use 'cpu' or a device of this "
            "machine"
        ) from error
    return found


def _check_preprocessor(folder: Path, n_mels: int) -> None:
    """Refuse a `preprocessor_config.json`, where there is one, that asks for other features."""
    path = folder / PREPROCESSOR_NAME
    if not path.is_file():
        return
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = {key: values[key] for key in _feature_settings(n_mels) if key in values}
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is not a JSON object; fetch it again") from error
    for key, expected in _feature_settings(n_mels).items():
        if found.get(key, expected) != expected:
            raise CheckpointError(f"{path}: {key} is {found[key]!r}; expected {expected}")


def _feature_settings(n_mels: int) -> dict[str, int]:
    """Return what `preprocessor_config.json` says of the features this code computes."""
    return {
        "sampling_rate": SAMPLE_RATE,
        "n_fft": N_FFT,
        "hop_length": HOP_LENGTH,
        "feature_size": n_mels,
    }
