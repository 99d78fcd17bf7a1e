"""Microphone and speaker over a stand-in for sounddevice: rates, names, losses, what is missing."""

import asyncio
import importlib
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from antiphon.audio import resample
from antiphon.errors import SoundDeviceError
from antiphon.talk import sound_devices
from antiphon.talk.playback_buffer import PlaybackBuffer
from antiphon.talk.sound_devices import SoundDevices, Speaker, load_sounddevice
from tests.fake_call_server import RATE, tone


class Stream:
    def __init__(self, **options: object) -> None:
        self.options = options
        self.is_open = False

    def start(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


class FakeLibrary(ModuleType):
    """One microphone and one speaker at the given rates."""

    class PortAudioError(Exception):
        pass

    def __init__(self, rate: int = 44_100, allowed: tuple[int, ...] = (44_100,)) -> None:
        super().__init__("sounddevice")
        self.rate, self.allowed = rate, allowed
        self.streams: list[Stream] = []

    def query_devices(self, device: object = None, kind: str | None = None) -> object:
        if device not in (None, 0, "built-in"):
            raise ValueError(f"No {kind} device matching {device!r}")
        return {"default_samplerate": float(self.rate)}

    def check_output_settings(self, **options: object) -> None:
        if options["samplerate"] not in self.allowed:
            raise self.PortAudioError("Invalid sample rate")

    def InputStream(self, **options: object) -> Stream:  # noqa: N802 - the library's name
        self.streams.append(Stream(**options))
        return self.streams[-1]

    OutputStream = InputStream


def test_microphone_gives_what_comes() -> None:
    async def work() -> None:
        library = FakeLibrary()
        with SoundDevices(library).open_microphone("0") as microphone:
            stream = library.streams[0]
            assert stream.is_open and stream.options["device"] == 0
            assert microphone.sample_rate == stream.options["samplerate"] == 44_100
            sound = np.array([0, 0.5, np.nan, np.inf, 9, -9], np.float32)[:, None]
            callback = stream.options["callback"]
            assert isinstance(callback, Callable)
            callback(sound, 6, None, None)
            sound[:] = 0  # PortAudio reuses its memory
            chunk = await anext(microphone.chunks())
            assert chunk.tolist() == [0, 0.5, 0, 0, 1, -1]
        assert not stream.is_open

    asyncio.run(work())


def test_silent_microphone_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_devices, "LOST_S", 0.05)

    async def work() -> None:
        with (
            SoundDevices(FakeLibrary()).open_microphone(None) as microphone,
            pytest.raises(SoundDeviceError, match="unplugged"),
        ):
            await anext(microphone.chunks())

    asyncio.run(work())


def test_forgotten_sound_is_dropped_oldest_first() -> None:
    async def work() -> None:
        library = FakeLibrary()
        with SoundDevices(library).open_microphone(None) as microphone:
            for index in range(sound_devices.MAX_WAITING_CHUNKS + 5):
                microphone.on_sound(np.full((4, 1), index / 256, np.float32), 4, None, None)
            await asyncio.sleep(0)
            assert (await anext(microphone.chunks()))[0] == 5 / 256

    asyncio.run(work())


@pytest.mark.parametrize(("allowed", "rate"), [((24_000, 44_100), 24_000), ((44_100,), 44_100)])
def test_speaker_takes_the_rate_the_device_has(allowed: tuple[int, ...], rate: int) -> None:
    library = FakeLibrary(allowed=allowed)
    with SoundDevices(library).open_speaker("built-in", PlaybackBuffer()):
        assert library.streams[0].options["samplerate"] == rate


def test_speaker_resamples() -> None:
    playback = PlaybackBuffer()
    playback.push("a", tone(RATE))
    playback.end("a")
    speaker = Speaker(playback, 48_000)
    out = np.zeros((960, 1), np.float32)
    heard = []
    for _ in range(60):
        speaker.on_wanted(out, 960, None, None)
        heard.append(out[:, 0].copy())
    sound = np.concatenate(heard)
    wanted = resample(tone(RATE), RATE, 48_000)
    middle = slice(2_000, 40_000)
    lag = int(np.argmax(np.correlate(sound[middle], wanted[middle], "full"))) - 37_999
    np.testing.assert_allclose(np.roll(wanted, lag)[middle], sound[middle], atol=2e-3)


def test_stopped_speaker_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_devices, "LOST_S", 0.05)
    with pytest.raises(SoundDeviceError, match="took nothing"):
        asyncio.run(Speaker(PlaybackBuffer(), RATE).run())


def test_unknown_device() -> None:
    async def work() -> None:
        with (
            pytest.raises(SoundDeviceError, match=r"--device-in 7: no such microphone"),
            SoundDevices(FakeLibrary()).open_microphone("7"),
        ):
            pass

    asyncio.run(work())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError("x"), r"antiphon\[talk\]"),
        (OSError("PortAudio library not found"), "libportaudio2"),
    ],
)
def test_missing_library(error: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(SoundDeviceError, match=words):
        load_sounddevice()
