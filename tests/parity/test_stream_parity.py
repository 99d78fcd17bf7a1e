"""A whole utterance and the original's chunking against the reference numbers."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cosyvoice.config import load_decoder_config
from cosyvoice.flow.solving import Solving
from flow_inference import AudioDecoder
from flow_inference.mel_stream import FlowWindow
from flow_inference.original_stream import OVERLAP_FRAMES, OriginalStream

MEL_TOLERANCE = 2e-4
SPEECH_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def decoder(parity_dir: Path) -> AudioDecoder:
    """The kit's decoder with its weights."""
    folder = parity_dir / "public/decoder"
    parts = load_decoder_config(folder / "config.yaml")
    parts.flow.load_state_dict(load_file(folder / "flow.safetensors"))
    parts.hift.load_state_dict(load_file(folder / "hift.safetensors"))
    return AudioDecoder(parts.flow, parts.hift, parts.sample_rate)


def largest(got: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference."""
    assert got.shape == wanted.shape
    return float((got - wanted).abs().max())


def test_offline(decoder: AudioDecoder, parity_dir: Path) -> None:
    numbers = load_file(parity_dir / "public/decoder/offline.safetensors")
    window = FlowWindow(decoder.flow, torch.zeros(1, 192), Solving())
    tokens, noise = numbers["token"][0].tolist(), numbers["z"][0]
    mel = window(tokens, decoder.clock.frames(len(tokens)), torch.zeros(80, 0), noise)
    assert largest(mel, numbers["mel"][0]) < MEL_TOLERANCE
    speech = decoder.hift.decode(numbers["mel"], numbers["source"])
    assert largest(speech, numbers["speech"]) < SPEECH_TOLERANCE


def test_original_chunking(decoder: AudioDecoder, parity_dir: Path) -> None:
    numbers = load_file(parity_dir / "public/decoder/stream.safetensors")
    constants = json.loads((parity_dir / "public/decoder/stream_constants.json").read_text())
    counts = constants["chunk_token_counts"]
    assert constants["mel_overlap_len"] == OVERLAP_FRAMES
    stream = OriginalStream(decoder.flow, decoder.hift)
    for index, count in enumerate(counts):
        wanted = {
            key.split(".")[1]: value
            for key, value in numbers.items()
            if key.startswith(f"chunk{index}.")
        }
        assert wanted["token"].shape[1] == count
        is_last = index == len(counts) - 1
        chunk = stream.push(wanted["token"], wanted["z"], is_last, wanted["source"])
        assert largest(chunk.mel, wanted["mel"]) < MEL_TOLERANCE
        assert largest(chunk.speech, wanted["speech"]) < SPEECH_TOLERANCE
        if not is_last:
            assert largest(stream.overlap_mel, wanted["overlap_mel"]) < MEL_TOLERANCE
            assert largest(stream.cache_mel, wanted["cache_mel"]) < MEL_TOLERANCE
            assert largest(stream.cache_source, wanted["cache_source"]) < 1e-6


def test_same_length_as_the_original_count_of_frames(decoder: AudioDecoder) -> None:
    for n_tokens in (1, 2, 20, 46):
        with decoder.open_stream() as stream:
            total = len(stream.push([1] * n_tokens)) + len(stream.flush())
        assert total == 256 * int(n_tokens / 12.5 * 22050 / 256)
