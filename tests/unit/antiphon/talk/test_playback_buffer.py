"""The buffer gives what came, whole, whatever the pieces; only starts and ends are faded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.talk.playback_buffer import FADE_MS, FIRST_FILL_MS, PlaybackBuffer

RATE = 8_000
FADE = RATE * FADE_MS // 1_000
FILL = RATE * FIRST_FILL_MS // 1_000


def ramp(n_samples: int) -> np.ndarray:
    """Samples that are all different, so that order and place can be told."""
    return (0.25 + 0.5 * np.arange(n_samples) / max(n_samples, 1)).astype(np.float32)


def cut(sound: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    places = np.cumsum(sizes)
    return np.split(sound, [place for place in places if place < len(sound)])


def pull_all(buffer: PlaybackBuffer, sizes: list[int]) -> np.ndarray:
    """Pull pieces of the given sizes, over and over, until nothing is left."""
    pieces, index = [], 0
    while not buffer.is_idle:
        pieces.append(buffer.pull(sizes[index % len(sizes)]))
        index += 1
        assert index < 100_000
    return np.concatenate([np.zeros(0, np.float32), *pieces])


def faded(sound: np.ndarray) -> np.ndarray:
    gain = np.ones(len(sound))
    n = min(FADE, len(sound))
    rise = np.arange(1, FADE + 1) / (FADE + 1)
    gain[:n] *= rise[:n]
    gain[len(sound) - n :] *= np.arange(n, 0, -1) / (FADE + 1)
    return sound * gain


SIZES = st.lists(st.integers(1, 700), min_size=1, max_size=12)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 2_500), SIZES, SIZES)
def test_any_pieces_give_the_same_sound(n_samples: int, pushed: list[int], pulled: list[int]):
    sound = ramp(n_samples)
    buffer = PlaybackBuffer(RATE)
    for piece in cut(sound, pushed):
        buffer.push("a", piece)
    buffer.end("a")
    heard = pull_all(buffer, pulled)
    np.testing.assert_allclose(heard[:n_samples], faded(sound), atol=1e-6)
    assert not heard[n_samples:].any()
    assert buffer.status().played_ms == round(n_samples * 1_000 / RATE)
    assert buffer.status().n_underruns == 0


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 3_000), SIZES, SIZES, st.lists(st.booleans(), min_size=1, max_size=40))
def test_underruns_lose_nothing(
    n_samples: int, pushed: list[int], pulled: list[int], order: list[bool]
):
    """Pushes and pulls in any order: every sample comes once, in order, quieter at most."""
    sound = ramp(n_samples)
    pieces = cut(sound, pushed)
    buffer = PlaybackBuffer(RATE)
    heard = []
    for index, is_push in enumerate(order * 3):
        if is_push and pieces:
            buffer.push("a", pieces.pop(0))
        elif not is_push:
            heard.append(buffer.pull(pulled[index % len(pulled)]))
    for piece in pieces:
        buffer.push("a", piece)
    buffer.end("a")
    joined = np.concatenate([*heard, pull_all(buffer, pulled)])
    voiced = joined[joined > 0]  # silence is exactly zero; every faded sample is above
    assert len(voiced) == n_samples
    assert (voiced <= sound + 1e-6).all()
    full = np.isclose(voiced, sound, atol=1e-6)
    n_runs = buffer.status().n_underruns + 1
    assert (~full).sum() <= 2 * FADE * n_runs


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 3_000), st.integers(1, 3_000), SIZES)
def test_flush_is_silent_after_the_fade(n_pulled: int, n_samples: int, pulled: list[int]):
    buffer = PlaybackBuffer(RATE)
    buffer.push("a", ramp(n_samples))
    heard = buffer.pull(n_pulled)
    playback = buffer.flush()
    rest = pull_all(buffer, pulled)
    joined = np.concatenate([heard, rest, buffer.pull(100)])
    n_heard = int((joined > 0).sum())
    assert len(rest) <= FADE + max(pulled)
    assert playback.played_ms == round(n_heard * 1_000 / RATE)
    assert buffer.is_idle
    steps = np.abs(np.diff(joined[max(n_pulled - 1, 0) :])) if n_heard else np.zeros(1)
    assert steps.max(initial=0) <= 0.75 / FADE + 0.01  # no click


def test_waits_for_the_first_fill() -> None:
    buffer = PlaybackBuffer(RATE)
    buffer.push("a", ramp(FILL - 1))
    assert not buffer.pull(100).any()
    buffer.push("a", ramp(1))
    assert buffer.pull(100).all()


def test_waits_longer_after_an_underrun() -> None:
    buffer = PlaybackBuffer(RATE)
    buffer.push("a", ramp(FILL))
    assert buffer.pull(FILL + 50)[:FILL].all()
    assert buffer.status().n_underruns == 1
    buffer.push("a", ramp(FILL))
    assert not buffer.pull(50).any()
    buffer.push("a", ramp(FILL))
    assert buffer.pull(50).all()


def test_plays_replies_one_after_another() -> None:
    buffer = PlaybackBuffer(RATE)
    for name in "ab":
        buffer.push(name, ramp(500))
        buffer.end(name)
    buffer.pull(100)
    assert buffer.status().item_id == "a"
    buffer.pull(500)
    status = buffer.status()
    assert (status.item_id, status.is_playing) == ("b", True)
    assert status.played_ms == pytest.approx(100 * 1_000 / RATE, abs=1)
    assert status.started_at is not None


def test_flush_before_the_start_plays_nothing() -> None:
    buffer = PlaybackBuffer(RATE)
    buffer.push("a", ramp(10))
    assert buffer.flush().played_ms == 0
    assert buffer.is_idle
    assert not buffer.pull(100).any()


def test_counts_complete_replies_only() -> None:
    buffer = PlaybackBuffer(RATE)
    buffer.push("a", ramp(900))
    assert buffer.n_complete == 0
    buffer.end("a")
    assert buffer.n_complete == 900
