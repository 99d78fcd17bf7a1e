"""Sizes of blocks and what they see of the past."""

from itertools import accumulate

import pytest

from antiphon.errors import ConfigError
from flow_inference.block_schedule import BlockSchedule, Crowd, StreamOptions
from flow_inference.crossfade import FrameClock


def test_last_size_repeats() -> None:
    schedule = BlockSchedule((10, 25, 50))
    assert [schedule.size(index) for index in range(5)] == [10, 25, 50, 50, 50]


def test_first_block_takes_ten_tokens() -> None:
    assert StreamOptions().schedule.size(0) == 10


def slack_s(schedule: BlockSchedule, index: int, step_s: float) -> float:
    """Sound left when block `index` comes, from a language model that takes `step_s` a token.

    It speaks in turns of 13 text and 26 speech tokens; 37 frames are held back (the fade and what
    the vocoder looks ahead); decoding takes no time.
    """

    def arrival_s(n_tokens: int) -> float:
        return (n_tokens + 13 * -(-n_tokens // 26)) * step_s

    ends = list(accumulate(schedule.size(number) for number in range(index + 1)))
    played_s = arrival_s(ends[-1]) - arrival_s(ends[0])
    clock = FrameClock()
    return (clock.frames(ends[-2]) - 37) * clock.hop_length / clock.sample_rate - played_s


@pytest.mark.parametrize("index", range(1, 12))
def test_sound_lasts_until_the_next_block(index: int) -> None:
    """Even if a token takes 25 ms; in 53 ms each, speech is made as fast as it is played."""
    assert slack_s(BlockSchedule(), index, 0.025) > 0


def test_a_larger_second_block_would_leave_a_gap() -> None:
    assert slack_s(BlockSchedule((10, 20, 30, 50)), 1, 0.012) < 0


@pytest.mark.parametrize("sizes", [(), (0,), (10, -1)])
def test_impossible_sizes_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="block sizes"):
        BlockSchedule(sizes)


@pytest.mark.parametrize("name", ["context_tokens", "overlap_frames"])
def test_negative_options_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        StreamOptions(**{name: -1})


@pytest.mark.parametrize(("first", "start"), [(0, 0), (10, 0), (50, 0), (55, 10), (60, 10)])
def test_context_is_bounded_and_aligned(first: int, start: int) -> None:
    assert StreamOptions(context_tokens=50).context_start(first) == start


def test_context_never_starts_after_the_block() -> None:
    assert StreamOptions(context_tokens=0).context_start(17) == 17


def test_larger_first_blocks_leave_a_crowd_more_time() -> None:
    sizes = Crowd(3).schedule
    assert all(slack_s(sizes, index, 0.025) > 0 for index in range(1, 12))
    assert slack_s(sizes, 1, 0.01) > 3 * slack_s(BlockSchedule(), 1, 0.01)


def test_an_impossible_crowd_is_refused() -> None:
    with pytest.raises(ConfigError, match="crowd"):
        Crowd(-1)
