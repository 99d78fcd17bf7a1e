"""A picture of a sound: its waveform above its mel spectrogram. Knows nothing of conversations."""

import io
from typing import TYPE_CHECKING

import numpy as np

from antiphon.audio import Waveform

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE_RATE = 22_050  # Hz
N_FFT, HOP_LENGTH, N_MELS = 1024, 256, 80
FLOOR_DB = -80.0
SIZE_INCHES, DPI = (9.0, 3.6), 110
INK = {False: "#334155", True: "#cbd5e1"}  # of axes, on a light and on a dark page
WAVE = {False: "#0d9488", True: "#2dd4bf"}


def mel_decibels(waveform: Waveform) -> np.ndarray:
    """Compute the log-mel spectrogram of (n_samples,) at `PICTURE_RATE`.

    Returns:
        (N_MELS, n_frames) in decibels below its peak, not under `FLOOR_DB`.
    """
    import librosa  # not at the top: takes a second, and few pages ask for pictures

    padded = np.pad(waveform, (0, max(0, N_FFT - len(waveform))))
    power = librosa.feature.melspectrogram(
        y=padded, sr=PICTURE_RATE, n_fft=N_FFT, hop_length=HOP_LENGTH, n_mels=N_MELS
    )
    decibels: np.ndarray = librosa.power_to_db(power, ref=np.max, top_db=-FLOOR_DB)
    return decibels


def draw(waveform: Waveform, *, is_dark: bool) -> bytes:
    """Draw (n_samples,) at `PICTURE_RATE` as a PNG with nothing behind it."""
    from matplotlib.figure import Figure  # not pyplot, which keeps state of its own

    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    duration_s = len(waveform) / PICTURE_RATE
    times = np.arange(len(waveform)) / PICTURE_RATE
    above.plot(times, waveform, color=WAVE[is_dark], linewidth=0.5)
    above.set_ylim(-1, 1)
    extent = (0.0, max(duration_s, 1e-3), 0.0, float(N_MELS))
    below.imshow(mel_decibels(waveform), origin="lower", aspect="auto", cmap="magma", extent=extent)
    below.set_xlabel("s")
    below.set_ylabel("mel")
    for axes in (above, below):
        dress(axes, INK[is_dark])
    file = io.BytesIO()
    figure.savefig(file, format="png", transparent=True)
    return file.getvalue()


def dress(axes: "Axes", ink: str) -> None:
    """Give axes one colour and no frame."""
    axes.tick_params(colors=ink, labelsize=8, length=2)
    axes.xaxis.label.set_color(ink)
    axes.yaxis.label.set_color(ink)
    for spine in axes.spines.values():
        spine.set_visible(False)
