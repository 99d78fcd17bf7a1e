"""Speech tokens of audio that comes in pieces against the reference ids."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from speech_tokenizer import SpeechTokenizer

RATE = 16_000
PIECES = (320, 4_096, 100_000)


@pytest.fixture(scope="module")
def tokenizer(parity_dir: Path) -> SpeechTokenizer:
    return SpeechTokenizer.from_pretrained(parity_dir / "public" / "tokenizer")


@pytest.fixture(scope="module")
def utterances(parity_dir: Path) -> list[Tensor]:
    stored = load_file(parity_dir / "public" / "tokenizer" / "long_waveforms.safetensors")
    return [stored[f"utt{number}.waveform_int16"] for number in range(len(stored))]


@pytest.fixture(scope="module")
def token_ids(parity_dir: Path) -> dict:
    return json.loads((parity_dir / "public" / "tokenizer" / "token_ids.json").read_text())


def heard(tokenizer: SpeechTokenizer, waveform: Tensor, n_piece: int) -> list[int]:
    with tokenizer.open_stream(RATE) as stream:
        ids = [stream.push(piece) for piece in waveform.split(n_piece)]
        return torch.cat([*ids, stream.finish()]).tolist()


@pytest.mark.parametrize("n_piece", PIECES)
def test_ids_in_pieces(
    tokenizer: SpeechTokenizer, utterances: list[Tensor], token_ids: dict, n_piece: int
) -> None:
    found = [heard(tokenizer, waveform, n_piece) for waveform in utterances]
    assert found == token_ids["single"]


def test_ids_of_prefixes_while_hearing(
    tokenizer: SpeechTokenizer, utterances: list[Tensor], token_ids: dict
) -> None:
    """What is said so far has the ids that the reference gives for it alone."""
    prefixes = {int(n): ids for n, ids in token_ids["prefix_of_utt2"].items()}
    final, n_pushed = torch.empty(0, dtype=torch.int64), 0
    with tokenizer.open_stream(RATE) as stream:
        for n_samples in sorted(prefixes):
            final = torch.cat([final, stream.push(utterances[2][n_pushed:n_samples])])
            n_pushed = n_samples
            found = torch.cat([final, stream.provisional()]).tolist()
            assert found == prefixes[n_samples], n_samples


@given(
    st.integers(1, 40 * RATE),
    st.sampled_from((RATE, 44_100)),
    st.lists(st.floats(0, 1), max_size=12),
)
@settings(max_examples=6, deadline=None)
def test_any_pieces_of_any_length_are_offline(
    tokenizer: SpeechTokenizer,
    utterances: list[Tensor],
    n_samples: int,
    rate: int,
    places: list[float],
) -> None:
    waveform = torch.cat(utterances).repeat(3)[:n_samples]
    ends = sorted(int(place * len(waveform)) for place in places)
    with tokenizer.open_stream(rate) as stream:
        pieces = waveform.tensor_split(ends)
        found = torch.cat([*(stream.push(piece) for piece in pieces), stream.finish()])
    assert torch.equal(found, tokenizer.encode(waveform, rate))
