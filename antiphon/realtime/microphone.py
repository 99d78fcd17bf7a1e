"""A client's sound: bytes of PCM16 at any rate in, samples at the detector's rate out.

Knows no turns. A byte that waits for its other half is kept.
"""

import base64
import binascii

import numpy as np

from antiphon.audio import ResampleStream, Waveform, pcm16_to_float
from antiphon.dialogue.vad import VAD_RATE
from antiphon.errors import AudioError


class Microphone:
    """One client's input.

    Attributes:
        rate: Rate of the input in Hz.
        heard_ms: Length of all sound so far, in ms.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._n_samples = 0
        self._before_ms = 0.0  # at the rates before this one
        self._rest = b""
        self._resampler = ResampleStream(rate, VAD_RATE)

    @property
    def heard_ms(self) -> float:
        """Length of all sound so far, in ms."""
        return self._before_ms + self._n_samples * 1000 / self.rate

    def change_rate(self, rate: int) -> None:
        """Expect another rate from now on."""
        if rate != self.rate:
            self._before_ms, self._n_samples = self.heard_ms, 0
            self.rate, self._rest = rate, b""
            self._resampler = ResampleStream(rate, VAD_RATE)

    def push(self, data: bytes) -> Waveform:
        """Take bytes of PCM16, little-endian, one channel; return (n,) float32 at `VAD_RATE`."""
        data = self._rest + data
        n_bytes = len(data) // 2 * 2
        self._rest = data[n_bytes:]
        samples = pcm16_to_float(np.frombuffer(data[:n_bytes], dtype="<i2"))
        self._n_samples += len(samples)
        return self._resampler.push(samples)

    def flush(self) -> Waveform:
        """Return the samples still held back, (n,) float32: what comes next is other sound."""
        rest = self._resampler.finish()
        self._resampler = ResampleStream(self.rate, VAD_RATE)
        return rest


def decode_base64(text: str) -> bytes:
    """Read base64.

    Raises:
        AudioError: If it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise AudioError(f"audio is not base64 ({error}); send base64 of PCM16 samples") from error
