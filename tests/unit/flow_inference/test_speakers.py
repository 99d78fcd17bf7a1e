"""Voices of a decoder: written, read in order, refused when damaged."""

import pytest
import torch
from safetensors.torch import save_file

from antiphon.errors import CheckpointError
from flow_inference.speakers import (
    SPEAKERS_NAME,
    orthogonal_speakers,
    read_speakers,
    write_speakers,
)


def test_voices_come_back_in_order(tmp_path):
    speakers = orthogonal_speakers(["middle", "low", "high"], 16)
    write_speakers(speakers, tmp_path)
    found = read_speakers(tmp_path, 16)
    assert list(found) == ["middle", "low", "high"]
    gram = torch.stack(list(found.values()))
    torch.testing.assert_close(gram @ gram.T, torch.eye(3), atol=1e-5, rtol=0)


def test_a_decoder_without_the_file_has_its_one_voice(tmp_path):
    found = read_speakers(tmp_path, 16)
    assert list(found) == ["default"]
    assert not found["default"].any()


def test_damaged_or_other_vectors_are_refused(tmp_path):
    save_file({"a": torch.ones(3)}, tmp_path / SPEAKERS_NAME)
    with pytest.raises(CheckpointError, match="no vector of 16"):
        read_speakers(tmp_path, 16)
    (tmp_path / SPEAKERS_NAME).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="fetch it again"):
        read_speakers(tmp_path, 16)
