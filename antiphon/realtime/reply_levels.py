"""Levels of sound in bands, and those of a reply as it would come back from a room.

Knows arithmetic only.
"""

import numpy as np
import numpy.typing as npt

from antiphon.audio import Waveform
from antiphon.dialogue.vad import FRAME_SIZE, VAD_RATE

Levels = npt.NDArray[np.float32]

N_BANDS = 20
LOWEST_HZ, HIGHEST_HZ = 150.0, 7000.0
FLOOR_DB = -75.0
"""Level of a band, in dB, below which it counts as silent."""

HOP = 128
"""Samples between two looks at a reply: 8 ms."""

HOP_MS = HOP * 1000 // VAD_RATE
DECAY_DB = 1.6
"""Fall of an echo in a hop: a room that is 60 dB quieter after 0.3 s."""


class LevelMeter:
    """Measures frames of `FRAME_SIZE` samples in bands of equal width on a logarithmic scale."""

    def __init__(self) -> None:
        self._window = np.hanning(FRAME_SIZE).astype(np.float32)
        edges = np.geomspace(LOWEST_HZ, HIGHEST_HZ, N_BANDS + 1)
        self._first = np.ceil(edges * FRAME_SIZE / VAD_RATE).astype(int)
        for band in range(N_BANDS):  # each has a line of the spectrum at least
            self._first[band + 1] = max(self._first[band + 1], self._first[band] + 1)

    def measure(self, frames: Waveform) -> Levels:
        """Measure (n, FRAME_SIZE) samples; returns (n, N_BANDS) in dB, full scale near 0."""
        spectrum = np.fft.rfft(frames * self._window, axis=1) / (FRAME_SIZE / 4)
        power = np.abs(spectrum) ** 2  # (n, FRAME_SIZE / 2 + 1)
        sums = np.add.reduceat(power, self._first, axis=1)[:, :N_BANDS]
        return np.maximum(10 * np.log10(sums + 1e-12), FLOOR_DB).astype(np.float32)


class ReplyLevels:
    """The levels of one reply, grown as it is sent.

    Attributes:
        levels: (n_hops, N_BANDS) in dB; hop k ends (k + 1) * HOP_MS into the reply.
    """

    def __init__(self, meter: LevelMeter) -> None:
        self._meter = meter
        self._buffer = np.zeros((256, N_BANDS), np.float32)
        self._n_hops = 0
        self._samples = np.zeros(FRAME_SIZE - HOP, np.float32)

    @property
    def levels(self) -> Levels:
        """All levels so far, with the decay of a room after each sound."""
        return self._buffer[: self._n_hops]

    def add(self, samples: Waveform) -> None:
        """Take (n,) float32 at `VAD_RATE`."""
        self._samples = np.concatenate([self._samples, samples])
        n_new = (len(self._samples) - FRAME_SIZE) // HOP + 1
        if n_new <= 0:
            return
        frames = np.lib.stride_tricks.sliding_window_view(self._samples, FRAME_SIZE)[::HOP][:n_new]
        measured = self._meter.measure(frames)
        self._samples = self._samples[n_new * HOP :].copy()
        self._grow(n_new)
        for row in measured:
            before = self._buffer[self._n_hops - 1] - DECAY_DB if self._n_hops else row
            self._buffer[self._n_hops] = np.maximum(row, np.maximum(before, FLOOR_DB))
            self._n_hops += 1

    def _grow(self, n_new: int) -> None:
        while self._n_hops + n_new > len(self._buffer):
            self._buffer = np.concatenate([self._buffer, np.zeros_like(self._buffer)])
