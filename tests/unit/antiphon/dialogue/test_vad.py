"""The packaged detector tells speech from silence, and needs no torchaudio."""

import sys

import numpy as np
import pytest

from antiphon.dialogue.vad import FRAME_SIZE, SileroDetector, find_model
from antiphon.errors import CheckpointError
from antiphon.training.synthesis import require_synthesisers, say


def probabilities(samples: np.ndarray) -> np.ndarray:
    stream = SileroDetector().open_stream()
    frames = samples[: len(samples) // FRAME_SIZE * FRAME_SIZE].reshape(-1, FRAME_SIZE)
    return np.array([stream.push(frame) for frame in frames.astype(np.float32)])


def test_speech_is_likely_and_noise_is_not() -> None:
    require_synthesisers()
    noise = np.random.default_rng(0).normal(0, 0.01, 16_000)
    assert np.mean(probabilities(say("what is the capital of France", "flite:slt")) > 0.5) > 0.8
    assert probabilities(noise).max() < 0.3
    assert "torchaudio" not in sys.modules


def test_streams_do_not_share_state() -> None:
    speech = say("one two three", "flite:slt")
    detector = SileroDetector()
    one, other = detector.open_stream(), detector.open_stream()
    for start in range(0, FRAME_SIZE * 10, FRAME_SIZE):
        one.push(speech[start : start + FRAME_SIZE])
    fresh = detector.open_stream().push(speech[:FRAME_SIZE])
    assert other.push(speech[:FRAME_SIZE]) == fresh


def test_a_missing_model_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(CheckpointError, match="pip install"):
        find_model()
