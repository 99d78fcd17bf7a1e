"""Voice activity: how likely it is, frame by frame, that somebody speaks. Decides nothing.

`SileroDetector` runs the packaged model of silero-vad on onnxruntime, of which torch knows nothing.
"""

import importlib.util
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from antiphon.errors import CheckpointError
from antiphon.models.base import Waveform

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

VAD_RATE = 16_000
"""Rate of the samples that detectors take, in Hz."""

FRAME_SIZE = 512
"""Samples in a frame, the only number silero's model takes at 16 kHz: 32 ms."""

FRAME_MS = FRAME_SIZE * 1000 // VAD_RATE
CONTEXT_SIZE = 64  # samples of the frame before that the model wants in front of each
STATE_SHAPE = (2, 1, 128)
MODEL_FILE = "silero_vad_16k_op15.onnx"


class DetectorStreamLike(Protocol):
    """One microphone being watched."""

    def push(self, frame: Waveform) -> float:
        """Take the next frame, (FRAME_SIZE,) float32 at `VAD_RATE`; tell how likely it is speech.

        Returns:
            Probability in [0, 1].
        """
        ...


class SpeechDetector(Protocol):
    """Watches many microphones at once."""

    def open_stream(self) -> DetectorStreamLike:
        """Open the state of one microphone."""
        ...


class SileroDetector:
    """Silero's detector; the model is read once, with the first stream, and has no state itself.

    About 0.15 ms of one core for a frame of 32 ms, so that it may run on an event loop.

    Raises:
        CheckpointError: If the package or its model is not there.
    """

    def __init__(self, model_path: Path | None = None) -> None:
        self._model_path = model_path

    @cached_property
    def _model(self) -> "InferenceSession":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = str(self._model_path or find_model())
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def open_stream(self) -> "SileroStream":
        """Open the state of one microphone."""
        return SileroStream(self._model)


class SileroStream:
    """One microphone: the state of the recurrent model and the end of the frame before."""

    def __init__(self, model: "InferenceSession") -> None:
        self._model = model
        self._state = np.zeros(STATE_SHAPE, np.float32)
        self._samples = np.zeros((1, CONTEXT_SIZE + FRAME_SIZE), np.float32)
        self._rate = np.array(VAD_RATE, np.int64)

    def push(self, frame: Waveform) -> float:
        """Tell how likely (FRAME_SIZE,) samples are speech."""
        self._samples[0, :CONTEXT_SIZE] = self._samples[0, -CONTEXT_SIZE:]
        self._samples[0, CONTEXT_SIZE:] = frame
        feed = {"input": self._samples, "state": self._state, "sr": self._rate}
        probability, self._state = self._model.run(None, feed)
        return float(probability[0, 0])


def find_model() -> Path:
    """Say where the package's model lies; the package itself, which loads torch, is not imported.

    Raises:
        CheckpointError: If it is not installed, or comes without the model.
    """
    package = importlib.util.find_spec("silero_vad")
    folders = (package.submodule_search_locations or []) if package else []
    for folder in folders:
        path = Path(folder) / "data" / MODEL_FILE
        if path.is_file():
            return path
    raise CheckpointError(
        f"the voice activity model {MODEL_FILE} is missing; run pip install 'silero-vad>=6.2'"
    )
