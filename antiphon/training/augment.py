"""Makes clean synthetic speech less clean: noise, level, band limit, clipping, echo, silence.

The wide set adds a telephone's codec, lost packets and other speeds.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import soxr
from scipy import fft

Float32 = npt.NDArray[np.float32]
SAMPLE_RATE = 16_000


def shape_spectrum(waveform: Float32, gain: Callable[[Float32], Float32], tail: int = 0) -> Float32:
    """Multiply the spectrum of (n,) by `gain` of its frequencies in Hz."""
    size = fft.next_fast_len(len(waveform) + tail, real=True)
    frequency = np.linspace(0, SAMPLE_RATE / 2, size // 2 + 1, dtype=np.float32)
    spectrum = fft.rfft(waveform.astype(np.float32), size) * gain(frequency)
    return fft.irfft(spectrum, size)[: len(waveform)].astype(np.float32)


def coloured_noise(n: int, rng: np.random.Generator) -> Float32:
    """Draw noise with a random spectral slope (white to brown), (n,) of unit power."""
    slope = rng.uniform(0.0, 1.0)
    white = rng.standard_normal(n, dtype=np.float32)
    noise = shape_spectrum(white, lambda f: np.maximum(f, np.float32(20)) ** np.float32(-slope))
    return noise / np.float32(noise.std() + 1e-9)


def add_noise(waveform: Float32, rng: np.random.Generator) -> Float32:
    """Add coloured noise at 5 to 35 dB below the speech."""
    level = waveform.std() * 10 ** (-rng.uniform(5, 35) / 20)
    return waveform + level * coloured_noise(len(waveform), rng)


def band_limit(waveform: Float32, rng: np.random.Generator) -> Float32:
    """Cut the band as telephones and cheap microphones do."""
    low, high = rng.uniform(0, 250), rng.uniform(3200, 7900)
    return shape_spectrum(waveform, lambda f: np.where((f < low) | (f > high), 0.03, 1.0))


def tilt(waveform: Float32, rng: np.random.Generator) -> Float32:
    """Tilt and ripple the spectrum as microphones and rooms do."""
    slope, depth, n_waves, phase = rng.uniform((-12, 0, 0.5, 0), (12, 4, 3, 1))

    def gain(frequency: Float32) -> Float32:
        position = frequency / (SAMPLE_RATE / 2)
        ripple = depth * np.sin(2 * np.pi * (n_waves * position + phase))
        return 10 ** ((slope * (position - 0.3) + ripple) / 20)

    return shape_spectrum(waveform, gain)


def echo(waveform: Float32, rng: np.random.Generator) -> Float32:
    """Put the speech into a small room: an exponentially decaying random impulse response."""
    n = int(rng.uniform(0.05, 0.3) * SAMPLE_RATE)
    decay = np.exp(-np.arange(n, dtype=np.float32) / (n / rng.uniform(5, 9)))
    response = rng.standard_normal(n, dtype=np.float32) * decay
    response *= rng.uniform(0.05, 0.35) / (np.abs(response).max() + 1e-9)
    response[0] = 1.0
    size = fft.next_fast_len(len(waveform) + n, real=True)
    wet = fft.irfft(fft.rfft(waveform, size) * fft.rfft(response, size), size)
    return wet[: len(waveform)].astype(np.float32)


def clip(waveform: Float32, rng: np.random.Generator) -> Float32:
    """Clip the loudest part."""
    limit = np.abs(waveform).max() * rng.uniform(0.3, 0.9)
    return np.clip(waveform, -limit, limit)


def codec(waveform: Float32, rng: np.random.Generator) -> Float32:
    """Code as telephones do: logarithmic steps (mu-law) of five to eight bits."""
    n_steps = 2.0 ** rng.integers(5, 9) / 2
    loudest = np.abs(waveform).max() + 1e-9
    pressed = np.sign(waveform) * np.log1p(255 * np.abs(waveform) / loudest) / np.log(256)
    rounded = np.round(pressed * n_steps) / n_steps
    out = np.sign(rounded) * (256 ** np.abs(rounded) - 1) / 255 * loudest
    return out.astype(np.float32)


def lose_packets(waveform: Float32, rng: np.random.Generator) -> Float32:
    """Silence some stretches of 20 ms, as a bad line does."""
    size = SAMPLE_RATE // 50
    lost = rng.uniform(size=-(-len(waveform) // size)) < rng.uniform(0.01, 0.06)
    lost[len(lost) // 2] = True
    return np.where(np.repeat(lost, size)[: len(waveform)], np.float32(0), waveform)


def change_speed(waveform: Float32, rng: np.random.Generator) -> Float32:
    """Play up to 12 % faster or slower: rate, pitch and formants together."""
    rate = SAMPLE_RATE * rng.uniform(0.88, 1.12)
    return soxr.resample(waveform, rate, SAMPLE_RATE, quality="LQ").astype(np.float32)


EFFECTS: tuple[tuple[float, Callable[[Float32, np.random.Generator], Float32]], ...] = (
    (0.35, tilt),
    (0.25, echo),
    (0.2, band_limit),
    (0.08, clip),
    (0.5, add_noise),
)


WIDE_EFFECTS = (*EFFECTS, (0.15, codec), (0.06, lose_packets))
WIDE_SPEED = 0.3


def augment(
    waveform: Float32, rng: np.random.Generator, strength: float = 1.0, is_wide: bool = False
) -> Float32:
    """Put speech into a random acoustic situation.

    Args:
        waveform: (n_samples,) float32 at 16 kHz.
        rng: Source of randomness.
        strength: Factor on the probability of each effect; 0 changes level and silence only.
        is_wide: Whether the wide set is used: for a model that people's own voices have to reach.

    Returns:
        (n_samples + silence,) float32; the wide set may make speech shorter or longer too.
    """
    if is_wide and rng.uniform() < WIDE_SPEED * strength:
        waveform = change_speed(waveform, rng)
    lead, tail = rng.uniform(0, 0.35, size=2) * SAMPLE_RATE
    out = np.pad(waveform, (int(lead), int(tail)))
    for probability, effect in WIDE_EFFECTS if is_wide else EFFECTS:
        if rng.uniform() < probability * strength:
            out = effect(out, rng)
    gain = 10 ** (rng.uniform(-14, 3) / 20)
    return np.clip(out * gain, -1, 1).astype(np.float32)
