"""Microphone and speaker through the library sounddevice (PortAudio).

Sound crosses from PortAudio's threads into the event loop here. Knows nothing of calls.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np

from antiphon.audio import ResampleStream, Waveform
from antiphon.errors import SoundDeviceError
from antiphon.talk.call_settings import MAX_INPUT_RATE, MIN_INPUT_RATE
from antiphon.talk.playback_buffer import PlaybackBuffer

CHUNK_S = 0.02
MAX_WAITING_CHUNKS = 100  # 2 s of microphone sound that nobody took: older sound is dropped
FALLBACK_RATE = 48_000
LOST_S = 5.0
"""A device that gives or takes nothing for so long is gone."""
INSTALL = "pip install 'antiphon[talk]', or: pip install sounddevice rich"


def load_sounddevice() -> ModuleType:
    """Import the library; raises SoundDeviceError that says what to install."""
    try:
        return importlib.import_module("sounddevice")
    except ImportError as error:
        raise SoundDeviceError(
            f"microphone and speaker need the package sounddevice: {INSTALL}; "
            "a machine without sound can use --file"
        ) from error
    except OSError as error:
        raise SoundDeviceError(
            "microphone and speaker need PortAudio: apt-get install libportaudio2 (Debian, "
            "Ubuntu), dnf install portaudio (Fedora); a machine without sound can use --file"
        ) from error


def device_key(name: str | None) -> str | int | None:
    """Read --device-in or --device-out: a number, a part of a name, or nothing."""
    return int(name) if name is not None and name.isdigit() else name


class Microphone:
    """An open microphone.

    Attributes:
        sample_rate: In Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        """Prepare for sound at `sample_rate` Hz; made by `SoundDevices.open_microphone`."""
        self.sample_rate = sample_rate
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[Waveform] = asyncio.Queue(MAX_WAITING_CHUNKS)

    def on_sound(self, sound: Waveform, n_frames: int, times: object, status: object) -> None:
        """Take (n_frames, 1) from PortAudio's thread."""
        sane = np.nan_to_num(sound[:, 0], nan=0, posinf=0, neginf=0)  # some drivers begin so
        chunk = np.clip(sane, -1, 1).astype(np.float32)  # a copy: the array is PortAudio's
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, chunk)

    def _put(self, chunk: Waveform) -> None:
        if self._chunks.full():
            self._chunks.get_nowait()
        self._chunks.put_nowait(chunk)

    async def chunks(self) -> AsyncIterator[Waveform]:
        """Yield (n_samples,) float32 as it comes; raises SoundDeviceError when it stays away."""
        while True:
            try:
                async with asyncio.timeout(LOST_S):
                    chunk = await self._chunks.get()
            except TimeoutError as error:
                raise SoundDeviceError(
                    f"the microphone gave nothing for {LOST_S:g} s; was it unplugged? "
                    "`antiphon talk --list-devices` shows what is there"
                ) from error
            yield chunk


class Speaker:
    """An open speaker that plays a buffer, at another rate where the device wants one."""

    def __init__(self, playback: PlaybackBuffer, device_rate: int) -> None:
        """Play `playback` on a device that runs at `device_rate` Hz."""
        self._playback = playback
        self._resample = ResampleStream(playback.sample_rate, device_rate)
        self._is_same_rate = playback.sample_rate == device_rate
        self._ratio = playback.sample_rate / device_rate
        self._rest = np.zeros(0, np.float32)
        self.n_calls = 0

    def on_wanted(self, out: Waveform, n_frames: int, times: object, status: object) -> None:
        """Fill (n_frames, 1) for PortAudio's thread."""
        self.n_calls += 1
        out[:, 0] = self.pull(n_frames)

    def pull(self, n_frames: int) -> Waveform:
        """Give the next (n_frames,) float32 at the device's rate."""
        if self._is_same_rate:
            return self._playback.pull(n_frames)
        while len(self._rest) < n_frames:
            n_wanted = max(1, round((n_frames - len(self._rest)) * self._ratio))
            more = self._resample.push(self._playback.pull(n_wanted))
            self._rest = np.concatenate([self._rest, more])
        sound, self._rest = self._rest[:n_frames], self._rest[n_frames:]
        return sound

    async def run(self) -> None:
        """Watch the device until cancelled; raises SoundDeviceError when it takes no more."""
        n_before = -1
        while True:
            if self.n_calls == n_before:
                raise SoundDeviceError(
                    f"the speaker took nothing for {LOST_S:g} s; was it unplugged? "
                    "`antiphon talk --list-devices` shows what is there"
                )
            n_before = self.n_calls
            await asyncio.sleep(LOST_S)


class SoundDevices:
    """The devices of this machine.

    Raises:
        SoundDeviceError: If sounddevice or PortAudio is not installed.
    """

    def __init__(self, library: ModuleType | None = None) -> None:
        """Use `library` in place of sounddevice."""
        self._library = library or load_sounddevice()

    def describe(self) -> str:
        """List all devices; the defaults are marked by > and <."""
        return str(self._library.query_devices()) or "no sound devices"

    @contextmanager
    def open_microphone(self, name: str | None) -> Iterator[Microphone]:
        """Open a microphone, None for the default; raises SoundDeviceError if there is none."""
        rate = self._own_rate(name, "input")
        rate = min(max(rate, MIN_INPUT_RATE), MAX_INPUT_RATE)
        microphone = Microphone(rate)
        with self._open("input", name, rate, microphone.on_sound):
            yield microphone

    @contextmanager
    def open_speaker(self, name: str | None, playback: PlaybackBuffer) -> Iterator[Speaker]:
        """Open a speaker, None for the default; raises SoundDeviceError if there is none."""
        own_rate = self._own_rate(name, "output")
        rate = playback.sample_rate if self._takes(name, playback.sample_rate) else own_rate
        speaker = Speaker(playback, rate)
        with self._open("output", name, rate, speaker.on_wanted):
            yield speaker

    def _own_rate(self, name: str | None, kind: str) -> int:
        try:
            device = self._library.query_devices(device_key(name), kind)
        except (ValueError, self._library.PortAudioError) as error:
            raise self._missing(name, kind, error) from error
        return round(device.get("default_samplerate") or FALLBACK_RATE)

    def _takes(self, name: str | None, rate: int) -> bool:
        try:
            self._library.check_output_settings(
                device=device_key(name), channels=1, dtype="float32", samplerate=rate
            )
        except (ValueError, self._library.PortAudioError):
            return False
        return True

    @contextmanager
    def _open(
        self, kind: str, name: str | None, rate: int, callback: Callable[..., None]
    ) -> Iterator[None]:
        library = self._library
        make = library.InputStream if kind == "input" else library.OutputStream
        try:
            stream = make(
                device=device_key(name),
                channels=1,
                dtype="float32",
                samplerate=rate,
                blocksize=round(rate * CHUNK_S),
                latency="low",
                callback=callback,
            )
            stream.start()
        except (ValueError, library.PortAudioError) as error:
            raise self._missing(name, kind, error) from error
        try:
            yield
        finally:
            stream.close()

    def _missing(self, name: str | None, kind: str, error: Exception) -> SoundDeviceError:
        noun, flag = (
            ("microphone", "--device-in") if kind == "input" else ("speaker", "--device-out")
        )
        which = f"no {noun}" if name is None else f"{flag} {name}: no such {noun}"
        return SoundDeviceError(
            f"{which} can be opened ({error}); `antiphon talk --list-devices` shows what is there, "
            "and --file works without"
        )
