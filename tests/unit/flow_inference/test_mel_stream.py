"""Blocks of tokens to mel: nothing lost, bounded past, independent of the calls."""

from dataclasses import dataclass, field

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flow_inference.block_schedule import BlockSchedule, StreamOptions
from flow_inference.crossfade import FrameClock
from flow_inference.mel_stream import MelStream


@dataclass
class FakeWindow:
    """Says in each frame which noise and how much context it was decoded with."""

    windows: list[tuple[int, int]] = field(default_factory=list)

    def __call__(
        self, tokens: list[int], n_frames: int, prompt_mel: Tensor, noise: Tensor
    ) -> Tensor:
        assert noise.shape == (80, n_frames)
        assert prompt_mel.shape[1] < n_frames
        self.windows.append((len(tokens), n_frames))
        return noise[:, prompt_mel.shape[1] :]


def run(pieces: list[list[int]], options: StreamOptions) -> tuple[Tensor, FakeWindow]:
    """Push pieces, flush, join."""
    window = FakeWindow()
    stream = MelStream(window, options, FrameClock(), seed=4)
    found = [frames for piece in pieces for frames in stream.push(piece)]
    return torch.cat([*found, stream.flush()], dim=1), window


def cut(tokens: list[int], sizes: list[int]) -> list[list[int]]:
    """Cut tokens into pieces, the rest as one more."""
    pieces, start = [], 0
    for size in sizes:
        pieces.append(tokens[start : start + size])
        start += size
    return [*pieces, tokens[start:]]


@given(st.integers(1, 260), st.lists(st.integers(0, 40), max_size=12))
@settings(deadline=None, max_examples=60)
def test_all_frames_come_whatever_the_calls(n_tokens: int, sizes: list[int]) -> None:
    tokens = list(range(n_tokens))
    mel, _ = run(cut(tokens, sizes), StreamOptions())
    at_once, _ = run([tokens], StreamOptions())
    assert mel.shape == (80, FrameClock().frames(n_tokens))
    assert torch.equal(mel, at_once)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(0, 40), st.integers(0, 40))
@settings(deadline=None, max_examples=60)
def test_noise_belongs_to_its_frame(sizes: list[int], overlap: int, context: int) -> None:
    options = StreamOptions(BlockSchedule(tuple(sizes)), context, overlap)
    mel, _ = run([list(range(90))], options)
    whole, _ = run([list(range(90))], StreamOptions(BlockSchedule((1000,))))
    assert torch.allclose(mel, whole, atol=1e-6)


def test_windows_are_bounded() -> None:
    options = StreamOptions(BlockSchedule((10, 20, 50)), context_tokens=50)
    _, window = run([list(range(1000))], options)
    assert max(tokens for tokens, _ in window.windows) == 100
    assert window.windows[0] == (10, FrameClock().frames(10))


def test_sound_comes_from_ten_tokens_on() -> None:
    stream = MelStream(FakeWindow(), StreamOptions(), FrameClock(), seed=0)
    assert stream.push(list(range(9))) == []
    (frames,) = stream.push([9])
    assert frames.shape == (80, 68 - StreamOptions().overlap_frames)


def test_flush_of_nothing_is_empty() -> None:
    stream = MelStream(FakeWindow(), StreamOptions(), FrameClock(), seed=0)
    assert stream.flush().shape == (80, 0)
