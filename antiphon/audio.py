"""Audio in and out: files, resampling, one channel, 16-bit PCM.

Knows nothing of models. Everything a person may hand in is checked here, and refused in words.
"""

import logging
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from antiphon.errors import AudioError

Waveform = npt.NDArray[np.float32]
Pcm16 = npt.NDArray[np.int16]

MAX_DURATION_S = 600.0
_SLACK_S = 1.0  # lossy formats add a little silence at both ends
_BLOCK_FRAMES = 65_536
_PCM16_SCALE = 32_768.0
_QUIET_CHANNEL = 0.01  # -40 dB against the loudest channel
_MAX_CHANNELS = 64
_MAX_RATE = 768_000
_FFMPEG_TIMEOUT_S = 120.0
_FFMPEG_MAX_BYTES = 2_000_000_000
_FFMPEG_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,ogg,mp3,wav,w64,flac,amr,aiff,caf,asf,flv,mpegts,au"
)

_log = logging.getLogger(__name__)


def read_audio(
    path: str | Path, sample_rate: int, max_duration_s: float = MAX_DURATION_S
) -> Waveform:
    """Read a file as one channel at the wanted rate; its content decides the format, not its name.

    Args:
        path: wav, flac, mp3 or ogg file; m4a, webm and the like where ffmpeg is installed.
        sample_rate: Wanted rate in Hz.
        max_duration_s: Longest clip taken.

    Returns:
        (n_samples,) float32; see `to_mono` for how one channel is chosen.

    Raises:
        AudioError: If the file is missing, unreadable, empty, not finite or too long.
    """
    path = Path(path)
    _check_file(path)
    try:
        with (
            path.open("rb") as stream,  # opened here, as a name's ending would mislead libsndfile
            soundfile.SoundFile(stream.fileno(), closefd=False) as file,
        ):
            waveform, file_rate = _read_channel(file, path, max_duration_s), file.samplerate
    except soundfile.LibsndfileError as error:
        _log.debug("libsndfile cannot read %s: %s", path, error)
        waveform, file_rate = _read_through_ffmpeg(path, max_duration_s)
    return resample(check_waveform(waveform, path.name), file_rate, sample_rate)


def _check_file(path: Path) -> None:
    """Refuse what is not a readable, non-empty file."""
    if path.is_dir():
        raise AudioError(f"{path} is a folder; give an audio file (wav, flac, mp3, ogg)")
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"cannot open audio file {path}: {reason}") from error
    if size == 0:
        raise AudioError(f"audio file {path} is empty (0 bytes); record or export it again")


def _read_channel(file: soundfile.SoundFile, path: Path, max_duration_s: float) -> Waveform:
    """Read the channel `to_mono` would choose, block by block, never holding all channels."""
    limit = int((max_duration_s + _SLACK_S) * file.samplerate)
    if file.seekable() and 0 < limit < file.frames < 2**62:
        raise _too_long(path.name, file.frames / file.samplerate, max_duration_s)
    channel, blocks, peaks = 0, [], np.zeros(file.channels, np.float32)
    n_read = 0
    for block in file.blocks(_BLOCK_FRAMES, dtype="float32", always_2d=True):  # (frames, channels)
        n_read += len(block)
        if n_read > limit:
            raise _too_long(path.name, n_read / file.samplerate, max_duration_s)
        peaks = np.maximum(peaks, np.abs(block).max(axis=0, initial=0.0))
        blocks.append(block[:, channel].copy())
    if not blocks:
        raise AudioError(f"audio file {path.name} holds no samples; record or export it again")
    channel = _choose_channel(peaks)
    if channel != 0:
        file.seek(0)
        again = file.blocks(_BLOCK_FRAMES, dtype="float32", always_2d=True)
        blocks = [block[:, channel].copy() for block in again]
    return np.concatenate(blocks)


def _too_long(name: str, duration_s: float, max_duration_s: float) -> AudioError:
    got, limit = (
        f"{int(value) // 60}:{int(value) % 60:02d}" for value in (duration_s, max_duration_s)
    )
    return AudioError(f"{name} lasts {got} min or more; at most {limit} min can be used: cut it")


def _read_through_ffmpeg(path: Path, max_duration_s: float) -> tuple[Waveform, int]:
    """Decode what libsndfile cannot, with ffmpeg if it is installed; returns waveform and rate."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise AudioError(
            f"{path.name} is damaged or not wav, flac, mp3 or ogg; "
            "install ffmpeg to read m4a, webm and other formats, or convert the file to wav"
        )
    with tempfile.TemporaryDirectory(prefix="antiphon-") as folder:
        target = Path(folder) / "decoded.au"  # a format whose header may leave the length open
        _run_ffmpeg(ffmpeg, path, target, max_duration_s)
        try:
            with soundfile.SoundFile(target) as file:
                return _read_channel(file, path, max_duration_s), file.samplerate
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{path.name} holds no audio that can be decoded") from error


def _run_ffmpeg(ffmpeg: str, path: Path, target: Path, max_duration_s: float) -> None:
    """Decode `path` into float samples at `target`; local plain media files only, no playlists."""
    command = [ffmpeg, "-nostdin", "-v", "error", "-protocol_whitelist", "file"]
    command += ["-format_whitelist", _FFMPEG_FORMATS, "-i", f"file:{path.resolve()}"]
    command += ["-vn", "-map", "0:a:0", "-t", str(max_duration_s + 2 * _SLACK_S)]
    command += ["-fs", str(_FFMPEG_MAX_BYTES), "-c:a", "pcm_f32be", f"file:{target}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_FFMPEG_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise AudioError(
            f"decoding {path.name} took more than {_FFMPEG_TIMEOUT_S:.0f} s and was stopped; "
            "convert the file to wav"
        ) from error
    except OSError as error:
        raise AudioError(
            f"ffmpeg could not be started: {error}; convert the file to wav"
        ) from error
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        _log.debug("ffmpeg on %s: %s", path, lines)
        raise AudioError(
            f"{path.name} is damaged or holds no audio of a known format; expected wav, flac, mp3, "
            "ogg, m4a or webm"
        )


def check_waveform(waveform: Waveform, name: str = "the audio") -> Waveform:
    """Return `waveform` unchanged if it has samples and all are finite.

    Raises:
        AudioError: If it is empty or holds NaN or infinity.
    """
    if waveform.size == 0:
        raise AudioError(f"{name} holds no samples; record or export it again")
    if not np.isfinite(waveform).all():
        raise AudioError(
            f"{name} holds values that are not numbers (NaN or infinite); export it again"
        )
    return waveform


def check_duration(
    n_samples: int,
    sample_rate: int,
    max_duration_s: float = MAX_DURATION_S,
    name: str = "the audio",
) -> None:
    """Refuse audio longer than `max_duration_s` and a little slack; raises AudioError."""
    check_rate(sample_rate)
    if n_samples > (max_duration_s + _SLACK_S) * sample_rate:
        raise _too_long(name, n_samples / sample_rate, max_duration_s)


def to_float(samples: npt.ArrayLike) -> Waveform:
    """Turn samples of any usual type into float32; integers are divided by their full scale.

    Raises:
        AudioError: If the values are not real numbers.
    """
    try:
        array = np.asarray(samples)
    except ValueError as error:
        raise AudioError(f"audio samples are not an array of numbers: {error}") from error
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # becomes infinite, which `check_waveform` refuses
            return array.astype(np.float32, copy=False)
    if array.dtype.kind == "i":
        return (array / -float(np.iinfo(array.dtype).min)).astype(np.float32)
    if array.dtype.kind == "u":
        half = (float(np.iinfo(array.dtype).max) + 1.0) / 2.0
        return ((array - half) / half).astype(np.float32)
    raise AudioError(f"audio samples are of type {array.dtype}; expected float or integer numbers")


def to_mono(samples: npt.ArrayLike) -> Waveform:
    """Choose one channel of (n_samples,) or (n_channels, n_samples) audio; returns (n_samples,).

    The first channel, as the original system takes it; where that one is silent (40 dB below the
    loudest), the loudest. Channels are not added up: opposite phases would cancel.

    Raises:
        AudioError: If there is no channel, or the shape is another.
    """
    array = to_float(samples)
    if array.ndim == 1:
        return array
    if array.ndim != 2:
        raise AudioError(
            f"audio of shape {array.shape}; expected (n_samples,) or (n_channels, n_samples)"
        )
    if array.shape[0] == 0:
        raise AudioError("the audio has no channels; expected at least one")
    if array.shape[0] > _MAX_CHANNELS:
        raise AudioError(
            f"audio of shape {array.shape} would have {array.shape[0]} channels; "
            "expected (n_channels, n_samples): transpose it"
        )
    if array.shape[0] == 1 or array.shape[1] == 0:
        return array[0]
    return array[_choose_channel(np.abs(array).max(axis=1))]


def _choose_channel(peaks: Waveform) -> int:
    """Return 0, or the number of the loudest channel where channel 0 is silent beside it."""
    loudest = int(peaks.argmax())
    return 0 if peaks[0] >= _QUIET_CHANNEL * peaks[loudest] else loudest


def check_rate(sample_rate: float) -> int:
    """Return a sample rate as a whole number of Hz; raises AudioError if it is none."""
    if not 1 <= sample_rate <= _MAX_RATE or sample_rate != int(sample_rate):
        raise AudioError(
            f"sample rate {sample_rate} Hz; expected a whole number between 1 and {_MAX_RATE}"
        )
    return int(sample_rate)


def resample(waveform: Waveform, from_rate: int, to_rate: int) -> Waveform:
    """Change the sample rate of (n_samples,) float32 audio.

    Returns:
        (ceil(n_samples * to_rate / from_rate),) float32; the input itself if the rates are equal.

    Raises:
        AudioError: If a rate is not between 1 and 768,000 Hz.
    """
    from_rate, to_rate = check_rate(from_rate), check_rate(to_rate)
    if from_rate == to_rate or waveform.size == 0:
        return waveform
    n_wanted = -(-waveform.shape[0] * to_rate // from_rate)
    resampled = np.asarray(soxr.resample(waveform, from_rate, to_rate), dtype=np.float32)[:n_wanted]
    return np.pad(resampled, (0, n_wanted - resampled.shape[0]), mode="constant")


class ResampleStream:
    """Changes the sample rate of audio that comes in pieces.

    What it gives, joined, is bit for bit what `resample` gives for the joined input, however it was
    cut: both run the same filter of the soxr library, whose output does not depend on the pieces.

    Raises:
        AudioError: If a rate is not between 1 and 768,000 Hz.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._from_rate, self._to_rate = check_rate(from_rate), check_rate(to_rate)
        self._n_in = self._n_out = 0
        self._soxr = None
        if self._from_rate != self._to_rate:
            self._soxr = soxr.ResampleStream(self._from_rate, self._to_rate, 1, dtype="float32")

    def push(self, waveform: Waveform) -> Waveform:
        """Take (n,) float32 samples; return those that are ready at the new rate, (m,) float32."""
        if self._soxr is None:
            return waveform
        ready = self._soxr.resample_chunk(np.ascontiguousarray(waveform, dtype=np.float32))
        self._n_in += waveform.shape[0]
        self._n_out += ready.shape[0]
        return np.asarray(ready, dtype=np.float32)

    def finish(self) -> Waveform:
        """Return the samples still held back, (m,) float32; nothing may be pushed afterwards."""
        if self._soxr is None or self._n_in == 0:
            return np.zeros(0, dtype=np.float32)
        n_wanted = -(-self._n_in * self._to_rate // self._from_rate) - self._n_out
        rest = self._soxr.resample_chunk(np.zeros(0, dtype=np.float32), last=True)[:n_wanted]
        return np.pad(np.asarray(rest, dtype=np.float32), (0, n_wanted - rest.shape[0]))


def float_to_pcm16(waveform: Waveform) -> Pcm16:
    """Turn float samples into 16-bit PCM: times 32,768, rounded, cut at the ends of the range."""
    scaled = np.round(np.asarray(waveform, dtype=np.float32) * _PCM16_SCALE)
    return np.clip(scaled, -_PCM16_SCALE, _PCM16_SCALE - 1).astype(np.int16)


def pcm16_to_float(samples: Pcm16) -> Waveform:
    """Turn 16-bit PCM into float32 in [-1, 1)."""
    return np.asarray(samples, dtype=np.int16).astype(np.float32) / np.float32(_PCM16_SCALE)


def write_wav(path: str | Path, waveform: npt.ArrayLike, sample_rate: int) -> None:
    """Write (n_samples,) audio as a 16-bit wav file; the file appears complete or not at all.

    Raises:
        AudioError: If samples are not finite, the shape is another, or the place cannot be written.
    """
    path = Path(path)
    samples = to_float(waveform)
    if samples.ndim != 1:
        raise AudioError(f"cannot write audio of shape {samples.shape}; expected (n_samples,)")
    if not np.isfinite(samples).all():
        raise AudioError(
            f"the audio for {path} holds values that are not numbers (NaN or infinite)"
        )
    sample_rate = check_rate(sample_rate)
    try:
        _write_then_rename(path, float_to_pcm16(samples), sample_rate)
    except (OSError, ValueError, soundfile.LibsndfileError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"cannot write {path}: {reason}; choose another place") from error


def _write_then_rename(path: Path, samples: Pcm16, sample_rate: int) -> None:
    """Write beside `path`, then put the complete file in its place."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        with partial.open("wb") as stream:
            soundfile.write(stream, samples, sample_rate, "PCM_16", format="WAV")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
