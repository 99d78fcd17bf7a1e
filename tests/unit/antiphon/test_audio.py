"""Reading, choosing a channel, resampling and writing audio; files that are wrong."""

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon import audio
from antiphon.errors import AudioError

RATE = 16_000
needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="needs ffmpeg: install ffmpeg"
)


def tone(n_samples: int = RATE, hz: float = 440.0, rate: int = RATE) -> npt.NDArray[np.float32]:
    return (0.4 * np.sin(2 * np.pi * hz * np.arange(n_samples) / rate)).astype(np.float32)


def loudest_hz(waveform: npt.NDArray[np.float32], rate: int = RATE) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(spectrum.argmax() * rate / len(waveform))


def convert(source: Path, target: Path, *options: str) -> Path:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(source), *options, str(target)]
    subprocess.run(command, check=True, timeout=60)
    return target


@pytest.mark.parametrize(
    ("name", "kind"), [("a.wav", "WAV"), ("a.flac", "FLAC"), ("a.ogg", "OGG"), ("a.mp3", "MP3")]
)
def test_reads_the_usual_formats(tmp_path: Path, name: str, kind: str) -> None:
    soundfile.write(tmp_path / name, tone(), RATE, format=kind)
    found = audio.read_audio(tmp_path / name, RATE)
    assert found.dtype == np.float32 and found.ndim == 1
    assert abs(len(found) - RATE) < 0.1 * RATE
    assert abs(loudest_hz(found) - 440) < 3


@pytest.mark.parametrize("wrong", ["a.mp3", "a.raw", "a.txt", "a", "a.au"])
@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_the_content_decides_not_the_name(tmp_path: Path, wrong: str, kind: str) -> None:
    soundfile.write(tmp_path / "right", tone(), RATE, format=kind)
    (tmp_path / "right").rename(tmp_path / wrong)
    assert abs(loudest_hz(audio.read_audio(tmp_path / wrong, RATE)) - 440) < 3


@needs_ffmpeg
@pytest.mark.parametrize("name", ["b.m4a", "b.webm", "b.mkv", "-b.m4a"])
def test_reads_more_through_ffmpeg(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([tone(), 0 * tone()], axis=1), RATE)
    convert(tmp_path / "a.wav", tmp_path / name)
    found = audio.read_audio(tmp_path / name, RATE)
    assert abs(len(found) - RATE) < 0.1 * RATE
    assert abs(loudest_hz(found) - 440) < 3


@needs_ffmpeg
def test_a_playlist_is_not_followed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "secret.wav", tone(), RATE)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path}/secret.wav\n"
    (tmp_path / "a.m3u8").write_text(playlist + "#EXT-X-ENDLIST\n")
    (tmp_path / "b.txt").write_text(f"ffconcat version 1.0\nfile {tmp_path}/secret.wav\n")
    for name in ("a.m3u8", "b.txt"):
        with pytest.raises(AudioError, match="damaged"):
            audio.read_audio(tmp_path / name, RATE)


def test_without_ffmpeg_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(200))
    with pytest.raises(AudioError, match="install ffmpeg"):
        audio.read_audio(tmp_path / "a.m4a", RATE)


def test_a_decoder_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexec sleep 30\n")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    monkeypatch.setattr(audio, "_FFMPEG_TIMEOUT_S", 0.2)
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(200))
    with pytest.raises(AudioError, match="stopped"):
        audio.read_audio(tmp_path / "a.m4a", RATE)


def wav_header(channels: int, n_bytes: int, rate: int = RATE) -> bytes:
    frame = channels * 2
    kind = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * frame, frame, 16)
    start = struct.pack("<4sI4s", b"RIFF", 36 + n_bytes, b"WAVE")
    return start + b"fmt " + kind + struct.pack("<4sI", b"data", n_bytes)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"this is a text, not a sound\n" * 50, "damaged"),
        (bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)), "damaged"),
        (b"RIFF", "damaged"),
        (wav_header(0, 1000) + bytes(1000), "damaged|no samples"),
        (wav_header(1, 0), "no samples"),
        (wav_header(1, 1000, rate=0) + bytes(1000), "damaged|sample rate"),
        (b"fLaC" + bytes(100), "damaged"),
        (b"OggS" + bytes(100), "damaged"),
        (b"ID3\x03" + bytes(300), "damaged|no samples"),
    ],
)
@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
def test_unusable_files_are_refused_in_words(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=words):
        audio.read_audio(tmp_path / name, RATE)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"cannot open .*none\.wav"):
        audio.read_audio(tmp_path / "none.wav", RATE)
    with pytest.raises(AudioError, match="folder"):
        audio.read_audio(tmp_path, RATE)
    with pytest.raises(AudioError, match="cannot open"):
        audio.read_audio("a\0b.wav", RATE)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_numbers_are_refused(tmp_path: Path, value: float) -> None:
    waveform = tone()
    waveform[500] = value
    soundfile.write(tmp_path / "a.wav", waveform, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match="not numbers"):
        audio.read_audio(tmp_path / "a.wav", RATE)


@pytest.mark.parametrize("kind", ["WAV", "MP3"])
def test_twenty_minutes_are_refused(tmp_path: Path, kind: str) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(20 * 60 * 8000, np.int16), 8000, format=kind)
    with pytest.raises(AudioError, match=r"a\.wav lasts .* at most 10:00 min"):
        audio.read_audio(tmp_path / "a.wav", RATE)


@needs_ffmpeg
def test_twenty_minutes_through_ffmpeg_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(20 * 60 * 8000, np.int16), 8000)
    convert(tmp_path / "a.wav", tmp_path / "a.m4a")
    with pytest.raises(AudioError, match="at most 10:00 min"):
        audio.read_audio(tmp_path / "a.m4a", RATE)


def test_ten_minutes_silence_and_one_sample_are_fine(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(600 * 8000, np.int16), 8000)
    assert len(audio.read_audio(tmp_path / "long.wav", RATE)) == 600 * RATE
    soundfile.write(tmp_path / "short.wav", np.ones(1, np.int16), 48_000)
    assert len(audio.read_audio(tmp_path / "short.wav", RATE)) == 1


def test_a_cut_off_file_gives_what_is_there(tmp_path: Path) -> None:
    audio.write_wav(tmp_path / "a.wav", tone(), RATE)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[: len(content) // 2])
    found = audio.read_audio(tmp_path / "a.wav", RATE)
    assert abs(len(found) - RATE / 2) < 50


@pytest.mark.parametrize("n_channels", [1, 2, 6])
def test_the_first_channel_of_a_file_counts(tmp_path: Path, n_channels: int) -> None:
    channels = [tone(hz=200 + 100 * number) for number in range(n_channels)]
    soundfile.write(tmp_path / "a.wav", np.stack(channels, axis=1), RATE, subtype="FLOAT")
    np.testing.assert_array_equal(audio.read_audio(tmp_path / "a.wav", RATE), channels[0])


def test_a_silent_first_channel_gives_way(tmp_path: Path) -> None:
    channels = np.stack([1e-4 * tone(), 0.1 * tone(hz=300), tone(hz=500)])
    soundfile.write(tmp_path / "a.wav", np.tile(channels, 9).T, RATE, subtype="FLOAT")
    found = audio.read_audio(tmp_path / "a.wav", RATE)
    np.testing.assert_array_equal(found, np.tile(channels, 9)[2])
    np.testing.assert_array_equal(audio.to_mono(channels), channels[2])


def test_opposite_phases_do_not_cancel() -> None:
    np.testing.assert_array_equal(audio.to_mono(np.stack([tone(), -tone()])), tone())


def test_integers_become_floats() -> None:
    assert audio.to_float(np.array([-32768, 16384], np.int16)).tolist() == [-1.0, 0.5]
    assert audio.to_float(np.array([-(2**31), 2**30], np.int32)).tolist() == [-1.0, 0.5]
    assert audio.to_float(np.array([0, 128, 192], np.uint8)).tolist() == [-1.0, 0.0, 0.5]
    assert audio.to_float([0.25, 1.0]).dtype == np.float32


@pytest.mark.parametrize("samples", [["a", "b"], [[1.0], [1.0, 2.0]], [1j], [True]])
def test_what_is_no_number_is_refused(samples: list[object]) -> None:
    with pytest.raises(AudioError, match="audio samples are"):
        audio.to_float(samples)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(), (2, 3, 4), (0, 5), (65, 2)])
def test_shapes_that_are_no_audio_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match="expected"):
        audio.to_mono(np.zeros(shape, np.float32))


@given(
    st.integers(1, 3000),
    st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000]),
    st.sampled_from([8000, 16_000, 22_050, 24_000]),
)
@settings(max_examples=40, deadline=None)
def test_resampling_gives_the_right_length(n_samples: int, from_rate: int, to_rate: int) -> None:
    found = audio.resample(tone(n_samples), from_rate, to_rate)
    assert len(found) == -(-n_samples * to_rate // from_rate)
    assert np.isfinite(found).all()


def test_resampling_keeps_the_sound() -> None:
    found = audio.resample(tone(48_000, rate=48_000), 48_000, RATE)
    inner = slice(400, -400)
    assert np.abs(found - tone())[inner].max() < 1e-3


def test_resampling_lets_no_alias_through() -> None:
    found = audio.resample(tone(48_000, hz=11_000.0, rate=48_000), 48_000, RATE)
    assert np.abs(found[400:-400]).max() < 1e-3


@pytest.mark.parametrize("rate", [0, -1, 10**7, 16_000.5])
def test_impossible_rates_are_refused(rate: int) -> None:
    with pytest.raises(AudioError, match="sample rate"):
        audio.resample(tone(10), rate, RATE)


@given(
    st.integers(1, 20_000),
    st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000]),
    st.lists(st.floats(0, 1), max_size=8),
)
@settings(max_examples=40, deadline=None)
def test_resampling_in_pieces_is_resampling_at_once(
    n_samples: int, rate: int, places: list[float]
) -> None:
    noise = np.random.default_rng(n_samples).standard_normal(n_samples).astype(np.float32)
    stream = audio.ResampleStream(rate, RATE)
    pieces = np.split(noise, sorted(int(place * n_samples) for place in places))
    found = np.concatenate([*(stream.push(piece) for piece in pieces), stream.finish()])
    np.testing.assert_array_equal(found, audio.resample(noise, rate, RATE))


def test_resampling_nothing_gives_nothing() -> None:
    stream = audio.ResampleStream(44_100, RATE)
    assert len(stream.push(tone(0))) == len(stream.finish()) == 0


def test_pcm16_both_ways() -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    np.testing.assert_array_equal(audio.float_to_pcm16(audio.pcm16_to_float(every)), every)
    assert audio.float_to_pcm16(np.array([1.5, -1.5], np.float32)).tolist() == [32767, -32768]


def test_written_wav_is_16_bit_and_complete(tmp_path: Path) -> None:
    audio.write_wav(tmp_path / "a.wav", tone(), 22_050)
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.format, info.subtype, info.samplerate, info.channels) == (
        "WAV",
        "PCM_16",
        22_050,
        1,
    )
    np.testing.assert_allclose(audio.read_audio(tmp_path / "a.wav", 22_050), tone(), atol=2e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_any_file_name_can_be_written(tmp_path: Path) -> None:
    audio.write_wav(tmp_path / "reply", tone(), RATE)
    assert soundfile.info(tmp_path / "reply").format == "WAV"


def test_an_earlier_file_survives_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio.write_wav(tmp_path / "a.wav", tone(), RATE)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soundfile, "write", full)
    with pytest.raises(AudioError, match="No space left"):
        audio.write_wav(tmp_path / "a.wav", tone(10), RATE)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert len(audio.read_audio(tmp_path / "a.wav", RATE)) == RATE


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="cannot write"):
        audio.write_wav(tmp_path / "none" / "a.wav", tone(), RATE)
    for place in (tmp_path, "", "/", "a\0b.wav"):
        with pytest.raises(AudioError, match="cannot write"):
            audio.write_wav(place, tone(), RATE)
    with pytest.raises(AudioError, match="sample rate"):
        audio.write_wav(tmp_path / "a.wav", tone(), 0)
    with pytest.raises(AudioError, match="cannot write"):
        audio.write_wav(tmp_path / ("a" * 300), tone(), RATE)
    with pytest.raises(AudioError, match="shape"):
        audio.write_wav(tmp_path / "a.wav", np.zeros((2, 5)), RATE)
    with pytest.raises(AudioError, match="not numbers"):
        audio.write_wav(tmp_path / "a.wav", [0.0, np.nan], RATE)
    assert list(tmp_path.iterdir()) == []
