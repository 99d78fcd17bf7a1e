"""Makes what is no speech: silence, hiss, hum, clicks, something like music, murmuring.

The same name always sounds the same. Knows no words.
"""

import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from antiphon.errors import ConfigError
from antiphon.training.augment import coloured_noise

NOISE = "noise"  # the synthesiser's place in a voice name: "noise:hum-17"
SAMPLE_RATE = 16_000
Float32 = npt.NDArray[np.float32]


def silence(n: int, rng: np.random.Generator) -> Float32:
    """Almost nothing."""
    return rng.normal(0, 1e-4, n).astype(np.float32)


def hiss(n: int, rng: np.random.Generator) -> Float32:
    """Noise of a random colour and level."""
    return coloured_noise(n, rng) * np.float32(10 ** rng.uniform(-2.5, -0.9))


def hum(n: int, rng: np.random.Generator) -> Float32:
    """Mains or engine hum: a low tone and its overtones."""
    time = np.arange(n) / SAMPLE_RATE
    pitch = rng.uniform(45, 130)
    overtones = sum(rng.uniform(0.1, 1) * np.sin(2 * np.pi * k * pitch * time) for k in range(1, 6))
    return (0.1 * overtones + rng.normal(0, 0.003, n)).astype(np.float32)


def clicks(n: int, rng: np.random.Generator) -> Float32:
    """Knocks and key strokes: short decaying bursts."""
    out = rng.normal(0, 1e-3, n)
    for start in rng.integers(0, n - 400, rng.integers(2, 14)):
        out[start : start + 400] += rng.normal(0, 0.5, 400) * np.exp(-np.arange(400) / 60)
    return out.clip(-1, 1).astype(np.float32)


def music(n: int, rng: np.random.Generator) -> Float32:
    """Chords of a scale, each some tenths of a second, with overtones."""
    out = np.zeros(n)
    scale = 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
    start = 0
    while start < n:
        length = min(int(rng.uniform(0.15, 0.6) * SAMPLE_RATE), n - start)
        time = np.arange(length) / SAMPLE_RATE
        for pitch in rng.choice(scale, rng.integers(1, 4)):
            tone = sum(np.sin(2 * np.pi * k * pitch * time) / k**1.5 for k in (1, 2, 3, 4))
            out[start : start + length] += 0.12 * tone * np.exp(-2 * time)
        start += length
    return out.astype(np.float32)


def babble(n: int, rng: np.random.Generator) -> Float32:
    """A murmur: low noise that swells and sinks as often as syllables do."""
    swell = np.interp(
        np.arange(n), np.linspace(0, n, max(2, n // 2500)), rng.uniform(0, 1, max(2, n // 2500))
    )
    low = np.convolve(rng.standard_normal(n), np.hanning(40) / 20, mode="same")
    return (0.12 * swell * low).astype(np.float32)


MAKERS: dict[str, Callable[[int, np.random.Generator], Float32]] = {
    "silence": silence,
    "hiss": hiss,
    "hum": hum,
    "clicks": clicks,
    "music": music,
    "babble": babble,
}


def make_noise(name: str) -> npt.NDArray[np.int16]:
    """Make one to three seconds of a noise, (n_samples,) at 16 kHz.

    Args:
        name: Its kind and whatever tells it from others of its kind, such as "hum-17".

    Raises:
        ConfigError: If there is no such kind.
    """
    kind = name.partition("-")[0]
    if kind not in MAKERS:
        raise ConfigError(f"no noise {kind!r}; there are {', '.join(MAKERS)}")
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    waveform = MAKERS[kind](int(rng.uniform(1, 3) * SAMPLE_RATE), rng)
    return (waveform.clip(-1, 1) * 32767).astype(np.int16)
