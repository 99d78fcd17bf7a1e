"""Sizes of blocks and what they see of the past."""

import pytest

from antiphon.errors import ConfigError
from flow_inference.block_schedule import BlockSchedule, StreamOptions


def test_last_size_repeats() -> None:
    schedule = BlockSchedule((10, 25, 50))
    assert [schedule.size(index) for index in range(5)] == [10, 25, 50, 50, 50]


def test_first_block_takes_ten_tokens() -> None:
    assert StreamOptions().schedule.size(0) == 10


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
