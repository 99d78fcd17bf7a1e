"""The original's call for tokenizing several utterances, kept under its name and place."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from antiphon.audio import Waveform, check_waveform, read_audio, resample, to_float
from antiphon.errors import AudioError
from speech_tokenizer.features import SAMPLE_RATE, extract_features
from speech_tokenizer.modeling_whisper import WhisperVQEncoder

_BATCH_SIZE = 128

Utterance = str | Path | tuple[Tensor | Waveform, int]


class FeatureExtractor(Protocol):
    """What is used of transformers' `WhisperFeatureExtractor`."""

    def __call__(
        self,
        raw_speech: list[Waveform],
        *,
        sampling_rate: int,
        return_attention_mask: bool,
        return_tensors: str,
        padding: str,
        pad_to_multiple_of: int,
    ) -> Mapping[str, Tensor]:
        """Turn waveforms at 16 kHz into `input_features` and `attention_mask`."""
        ...


def extract_speech_token(
    model: WhisperVQEncoder,
    feature_extractor: FeatureExtractor | None,
    utterances: Sequence[Utterance],
) -> list[list[int]]:
    """Turn utterances into lists of tokens, padded together 128 segments at a time.

    Args:
        model: The network, in eval mode.
        feature_extractor: A `WhisperFeatureExtractor`; None for this package's own features.
        utterances: Paths, or pairs of a waveform ((n_samples,) or (n_channels, n_samples), of
            which the first channel counts) and its rate in Hz.

    Returns:
        The tokens of each utterance; none for an empty waveform.

    Raises:
        AudioError: If a file cannot be read or a waveform is of another shape or not finite.
    """
    tokens: list[list[int]] = [[] for _ in utterances]
    segments = [
        (number, part)
        for number, utterance in enumerate(utterances)
        for part in torch.split(_load(utterance), model.config.max_samples)
        if part.numel() > 0
    ]
    for start in range(0, len(segments), _BATCH_SIZE):
        batch = segments[start : start + _BATCH_SIZE]
        found = _encode(model, feature_extractor, [part for _, part in batch])
        for (number, _), ids in zip(batch, found, strict=True):
            tokens[number].extend(ids)
    return tokens


def _load(utterance: Utterance) -> Tensor:
    """Return the first channel of an utterance at 16 kHz, (n_samples,)."""
    if not isinstance(utterance, tuple):
        return torch.from_numpy(read_audio(utterance, SAMPLE_RATE))
    waveform, sample_rate = utterance
    samples = to_float(
        waveform.detach().cpu().numpy() if isinstance(waveform, Tensor) else waveform
    )
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[0] == 0):
        raise AudioError(
            f"audio of shape {samples.shape}; expected (n_samples,) or (n_channels, n_samples)"
        )
    first = samples if samples.ndim == 1 else samples[0]
    if first.size > 0:
        check_waveform(first)
    return torch.from_numpy(np.array(resample(first, sample_rate, SAMPLE_RATE)))


@torch.no_grad()
def _encode(
    model: WhisperVQEncoder, feature_extractor: FeatureExtractor | None, waveforms: list[Tensor]
) -> list[list[int]]:
    """Encode waveforms (n_i,) at 16 kHz as one batch."""
    device, frame_size = model.conv1.weight.device, model.config.frame_size
    if feature_extractor is None:
        own = extract_features(waveforms, model.config.num_mel_bins, frame_size)
        features, mask = own.input_features, own.attention_mask
    else:
        extracted = feature_extractor(
            [waveform.numpy() for waveform in waveforms],
            sampling_rate=SAMPLE_RATE,
            return_attention_mask=True,
            return_tensors="pt",
            padding="longest",
            pad_to_multiple_of=frame_size,
        )
        features, mask = extracted["input_features"], extracted["attention_mask"]
    output = model(features.to(device), mask.to(device))
    pairs = zip(output.quantized_token_ids.cpu(), output.token_mask.cpu(), strict=True)
    return [ids[is_real].tolist() for ids, is_real in pairs]
