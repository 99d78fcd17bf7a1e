"""The decoder that ships in the repository: sound from tokens, in pieces and at once."""

from pathlib import Path

import pytest
import torch

from flow_inference import AudioDecoder

FOLDER = Path(__file__).resolve().parents[2] / "resources/embedded/decoder"


@pytest.fixture(scope="module")
def decoder() -> AudioDecoder:
    """The shipped weights."""
    return AudioDecoder.from_pretrained(FOLDER)


def test_streamed_reply(decoder: AudioDecoder) -> None:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, decoder.codebook_size, (45,), generator=generator).tolist()
    with decoder.open_stream() as stream:
        parts = [stream.push(tokens[start : start + 5]) for start in range(0, 45, 5)]
        parts.append(stream.flush())
    parts = [part for part in parts if len(part)]
    waveform = torch.cat(parts)
    assert len(waveform) == 256 * int(45 / 12.5 * 22050 / 256)
    assert float(waveform.abs().max()) > 0.02
    steps = waveform.diff().abs()
    seams = torch.tensor([len(part) for part in parts]).cumsum(0)[:-1] - 1
    assert len(seams) >= 2
    elsewhere = steps.clone()
    elsewhere[seams] = 0.0
    assert float(steps[seams].max()) <= float(elsewhere.max())


def test_vocoder_is_small_and_quick(decoder: AudioDecoder) -> None:
    assert (FOLDER / "hift.pt").stat().st_size < 8_000_000
    assert decoder.hift.sampling_rate == 22_050
