"""A call with a microphone: what is sent when, and what the keys do.

Knows nothing of PortAudio or of drawing.
"""

from collections.abc import AsyncIterator
from typing import Protocol

import numpy as np

from antiphon.audio import Waveform
from antiphon.errors import ServerConnectionError
from antiphon.talk.call import Call
from antiphon.talk.task_race import race

MIN_QUESTION_S = 0.12
QUIET_DB = -60.0
STOP_KEYS, MUTE_KEY = frozenset((" ", "\n", "\r")), "m"


class SoundSource(Protocol):
    """Where sound comes from: a microphone."""

    sample_rate: int

    def chunks(self) -> AsyncIterator[Waveform]:
        """Yield (n_samples,) float32 as it comes."""
        ...


class KeySource(Protocol):
    """Where keys come from: a terminal."""

    async def next_key(self) -> str:
        """Wait for a key."""
        ...


class LiveTalk:
    """Sends the microphone's sound and obeys the keys.

    Attributes:
        is_muted: Whether silence is sent in place of the microphone.
        is_speaking: With push-to-talk, whether a question is being spoken.
        level: Of the microphone's last chunk, from 0 (silence) to 1 (full scale).
    """

    def __init__(self, call: Call, microphone: SoundSource, keyboard: KeySource) -> None:
        """Use a call that runs beside this."""
        self._call = call
        self._microphone = microphone
        self._keyboard = keyboard
        self._n_spoken = 0
        self.is_muted = False
        self.is_speaking = False
        self.level = 0.0

    @property
    def is_push_to_talk(self) -> bool:
        """Whether a key begins and ends each question."""
        return not self._call.settings.is_hands_free

    async def run(self) -> None:
        """Send and obey until cancelled; raises SoundDeviceError if the microphone goes away."""
        await race(self._send_sound(), self._obey())

    async def _send_sound(self) -> None:
        async for chunk in self._microphone.chunks():
            await self.hear(chunk)

    async def hear(self, chunk: Waveform) -> None:
        """Send (n_samples,) float32, silence in its place, or nothing."""
        self.level = 0.0 if self.is_muted else loudness(chunk)
        if self.is_push_to_talk:
            if self.is_speaking and not self.is_muted and await self._call.send_sound(chunk):
                self._n_spoken += len(chunk)
            return
        is_deaf = self._call.settings.is_half_duplex and not self._call.playback.is_idle
        await self._call.send_sound(np.zeros_like(chunk) if self.is_muted or is_deaf else chunk)

    async def _obey(self) -> None:
        while True:
            key = await self._keyboard.next_key()
            try:
                await self.press(key)
            except ServerConnectionError:  # the call tells about the connection itself
                self.is_speaking = False

    async def press(self, key: str) -> None:
        """Do what a key means; raises ServerConnectionError if that could not be sent."""
        if key == MUTE_KEY:
            self.is_muted = not self.is_muted
        elif key in STOP_KEYS:
            await (self._toggle() if self.is_push_to_talk else self._call.stop_reply())

    async def _toggle(self) -> None:
        """Begin a question, stopping the reply; or end it."""
        if not self.is_speaking:
            if self._call.is_busy:
                await self._call.stop_reply()
            self._n_spoken, self.is_speaking = 0, True
            return
        self.is_speaking = False
        if self._n_spoken >= MIN_QUESTION_S * self._microphone.sample_rate:
            await self._call.commit()
        else:
            await self._call.drop_sound()


def loudness(chunk: Waveform) -> float:
    """Measure (n_samples,) float32: 0 at -60 dB of full scale and below, 1 at full scale."""
    power = float(np.mean(np.square(chunk))) if len(chunk) else 0.0
    decibel = 10 * np.log10(max(power, 1e-12))
    return float(np.clip(1 - decibel / QUIET_DB, 0, 1))
