"""Makes clean synthetic speech less clean: noise, level, band limit, clipping, echo, silence around it."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
SAMPLE_RATE = 16_000


def coloured_noise(n: int, rng: np.random.Generator) -> Float32:
    """Draw noise with a random spectral slope (white to brown), (n,) of unit power."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency = np.maximum(np.arange(len(spectrum)), 1.0)
    noise = np.fft.irfft(spectrum * frequency ** -rng.uniform(0.0, 1.0), n)
    return (noise / (noise.std() + 1e-9)).astype(np.float32)


def add_noise(waveform: Float32, rng: np.random.Generator) -> Float32:
    """Add coloured noise at 5 to 35 dB below the speech."""
    level = waveform.std() * 10 ** (-rng.uniform(5, 35) / 20)
    return waveform + level * coloured_noise(len(waveform), rng)


def band_limit(waveform: Float32, rng: np.random.Generator) -> Float32:
    """Cut the band as telephones and cheap microphones do."""
    spectrum = np.fft.rfft(waveform)
    frequency = np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE)
    spectrum[(frequency < rng.uniform(0, 250)) | (frequency > rng.uniform(3200, 7900))] *= 0.03
    return np.fft.irfft(spectrum, len(waveform)).astype(np.float32)


def tilt(waveform: Float32, rng: np.random.Generator) -> Float32:
    """Tilt and ripple the spectrum as microphones and rooms do."""
    spectrum = np.fft.rfft(waveform)
    position = np.linspace(0, 1, len(spectrum))
    gain_db = rng.uniform(-12, 12) * (position - 0.3) + rng.uniform(0, 4) * np.sin(
        2 * np.pi * (rng.uniform(0.5, 3) * position + rng.uniform())
    )
    return np.fft.irfft(spectrum * 10 ** (gain_db / 20), len(waveform)).astype(np.float32)


def echo(waveform: Float32, rng: np.random.Generator) -> Float32:
    """Put the speech into a small room: an exponentially decaying random impulse response."""
    n = int(rng.uniform(0.05, 0.3) * SAMPLE_RATE)
    response = rng.standard_normal(n) * np.exp(-np.arange(n) / (n / rng.uniform(5, 9)))
    response *= rng.uniform(0.05, 0.35) / (np.abs(response).max() + 1e-9)
    response[0] = 1.0
    size = len(waveform) + n - 1
    wet = np.fft.irfft(np.fft.rfft(waveform, size) * np.fft.rfft(response, size), size)
    return wet[: len(waveform)].astype(np.float32)


def clip(waveform: Float32, rng: np.random.Generator) -> Float32:
    """Clip the loudest part."""
    limit = np.abs(waveform).max() * rng.uniform(0.3, 0.9)
    return np.clip(waveform, -limit, limit)


EFFECTS: tuple[tuple[float, Callable[[Float32, np.random.Generator], Float32]], ...] = (
    (0.35, tilt),
    (0.25, echo),
    (0.2, band_limit),
    (0.08, clip),
    (0.5, add_noise),
)


def augment(waveform: Float32, rng: np.random.Generator, strength: float = 1.0) -> Float32:
    """Put speech into a random acoustic situation.

    Args:
        waveform: (n_samples,) float32 at 16 kHz.
        rng: Source of randomness.
        strength: Factor on the probability of each effect; 0 changes only level and surrounding silence.

    Returns:
        (n_samples + silence,) float32.
    """
    lead, tail = rng.uniform(0, 0.35, size=2) * SAMPLE_RATE
    out = np.pad(waveform, (int(lead), int(tail)))
    for probability, effect in EFFECTS:
        if rng.uniform() < probability * strength:
            out = effect(out, rng)
    gain = 10 ** (rng.uniform(-14, 3) / 20)
    return np.clip(out * gain, -1, 1).astype(np.float32)
