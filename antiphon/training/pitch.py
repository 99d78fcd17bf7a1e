"""Fundamental frequency and phase of clean speech, frame by frame. Knows no model.

Source: Boersma (1993), "Accurate short-term analysis of the fundamental frequency ...": the
autocorrelation of a windowed frame divided by that of the window.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

WINDOW = 1024
_FFT = 4096
_LOWEST_HZ, _HIGHEST_HZ = 80.0, 400.0
_VOICED = 0.55  # normalised autocorrelation
_QUIET = 0.004  # root mean square below which nothing is voiced
_EARLY = 0.9  # the shortest lag this near to the best one wins: no octave too low


@dataclass(frozen=True)
class Pitch:
    """Pitch of T frames.

    Attributes:
        f0: Hz, 0 where unvoiced, (T,).
        cycles: Phase of the fundamental in cycles, running on, at the frames' borders, (T + 1,).
    """

    f0: Float64
    cycles: Float64


def _frames(waveform: Float64, centres: npt.NDArray[np.int64], size: int) -> Float64:
    """Cut (n_centres, size) samples around the centres, zeros beyond the ends."""
    padded = np.pad(waveform, size)
    starts = centres + size - size // 2
    return padded[starts[:, None] + np.arange(size)]


def _normalised_autocorrelation(frames: Float64) -> Float64:
    """Autocorrelation of windowed frames over that of the window, (T, lags)."""
    window = np.hanning(WINDOW)
    spectrum = np.abs(np.fft.rfft(frames * window, _FFT)) ** 2
    correlation = np.fft.irfft(spectrum)[:, : WINDOW // 2]
    of_window = np.fft.irfft(np.abs(np.fft.rfft(window, _FFT)) ** 2)[: WINDOW // 2]
    return correlation / (correlation[:, :1] + 1e-9) / (of_window / of_window[0])


def _best_lags(correlation: Float64, low: int, high: int) -> tuple[Float64, Float64]:
    """Lag (with fraction) and height of the chosen peak of each row."""
    inner = correlation[:, low : high + 1]
    is_peak = (inner >= correlation[:, low - 1 : high]) & (
        inner >= correlation[:, low + 1 : high + 2]
    )
    heights = np.where(is_peak, inner, -1.0)
    first = (heights >= _EARLY * heights.max(1, keepdims=True)).argmax(1)
    rows = np.arange(len(correlation))
    lag = first + low
    left, centre, right = (correlation[rows, lag + step] for step in (-1, 0, 1))
    curve = left - 2 * centre + right
    shift = np.where(curve < -1e-6, 0.5 * (left - right) / np.minimum(curve, -1e-6), 0.0)
    return lag + np.clip(shift, -0.5, 0.5), heights[rows, first]


def _smooth_voicing(f0: Float64) -> Float64:
    """Median of three where voiced; voiced stretches of a single frame are dropped."""
    padded = np.pad(f0, 1, mode="edge")
    neighbours = np.stack([padded[:-2], padded[1:-1], padded[2:]])
    alone = (neighbours[0] == 0) & (neighbours[2] == 0)
    inside = (neighbours > 0).all(0)
    return np.where(alone, 0.0, np.where(inside, np.median(neighbours, 0), f0))


def _border_cycles(waveform: Float64, f0: Float64, hop: int, rate: int) -> Float64:
    """Run the phase of the fundamental on from border to border, corrected by the waveform."""
    step = f0 * hop / rate  # cycles in a frame
    cycles = np.zeros(len(f0) + 1)
    size = WINDOW
    borders = np.arange(len(f0) + 1) * hop
    at_border = np.pad(f0, (1, 0), mode="edge")
    at_border[:-1] = np.where(f0 > 0, f0, at_border[:-1])
    cut = _frames(waveform, borders.astype(np.int64), size)
    time = (np.arange(size) - size // 2) / rate
    width = np.maximum(at_border, _LOWEST_HZ)[:, None]
    window = np.where(np.abs(time * width) < 2, 0.5 + 0.5 * np.cos(np.pi * time * width / 2), 0.0)
    seen = (cut * window * np.exp(-2j * np.pi * at_border[:, None] * time)).sum(1)
    measured = np.angle(seen) / (2 * np.pi)
    for t in range(len(f0)):
        expected = cycles[t] + step[t]
        has_next = f0[t] > 0
        offset = measured[t + 1] - expected
        cycles[t + 1] = expected + (offset - np.round(offset) if has_next else 0.0)
        if f0[t] > 0 and (t == 0 or f0[t - 1] == 0):
            cycles[t + 1] = measured[t + 1] + np.round(expected - measured[t + 1])
            cycles[t] = cycles[t + 1] - step[t]
    return cycles


def analyse_pitch(waveform: npt.NDArray[np.float32], n_frames: int, hop: int, rate: int) -> Pitch:
    """Analyse speech of one voice.

    Args:
        waveform: (n_samples,) float32.
        n_frames: Number of frames of `hop` samples.
        hop: Samples a frame.
        rate: Samples a second.
    """
    signal = waveform.astype(np.float64)
    frames = _frames(signal, np.arange(n_frames) * hop + hop // 2, WINDOW)
    correlation = _normalised_autocorrelation(frames)
    lags, heights = _best_lags(correlation, int(rate / _HIGHEST_HZ), int(rate / _LOWEST_HZ))
    loud = np.sqrt((frames**2).mean(1)) > _QUIET
    f0 = _smooth_voicing(np.where((heights > _VOICED) & loud, rate / lags, 0.0))
    return Pitch(f0, _border_cycles(signal, f0, hop, rate))
