"""A speaker for machines without sound: what would be heard goes into a wav file.

Pulls at the pace of speech, or each reply at once when it is complete. Knows nothing of calls.
"""

import asyncio
import time
from pathlib import Path

import numpy as np

from antiphon.audio import Waveform, write_wav
from antiphon.talk.playback_buffer import PlaybackBuffer

STEP_S = 0.02


class WavSpeaker:
    """Listens to a buffer and remembers what it gave.

    Attributes:
        is_paced: Whether it listens at the pace of speech, so that waiting is silence in the file.
    """

    def __init__(self, playback: PlaybackBuffer, is_paced: bool) -> None:
        """Listen to `playback` once `run` runs."""
        self.is_paced = is_paced
        self._playback = playback
        self._heard: list[Waveform] = []

    async def run(self) -> None:
        """Listen until cancelled."""
        start, n_pulled = time.monotonic(), 0
        while True:
            await asyncio.sleep(STEP_S)
            if self.is_paced:
                n_due = int((time.monotonic() - start) * self._playback.sample_rate)
                n_samples = n_due - n_pulled
                n_pulled = n_due
            else:
                n_samples = self._playback.n_complete
            if n_samples > 0:
                self._heard.append(self._playback.pull(n_samples))

    @property
    def waveform(self) -> Waveform:
        """Everything heard so far, (n_samples,) float32."""
        return np.concatenate([np.zeros(0, np.float32), *self._heard])

    def write(self, path: Path) -> bool:
        """Write what was heard; False if there was no sound at all, and then no file.

        Raises:
            AudioError: If the file cannot be written.
        """
        waveform = self.waveform
        if not waveform.any():
            return False
        write_wav(path, waveform, self._playback.sample_rate)
        return True
