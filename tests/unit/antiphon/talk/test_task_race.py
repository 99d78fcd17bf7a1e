"""The first to end ends all, and its error is the one that counts."""

import asyncio

import pytest

from antiphon.talk.task_race import race


def test_first_ends_all() -> None:
    ended = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("slow")

    async def quick() -> None:
        await asyncio.sleep(0)

    asyncio.run(race(slow(), quick()))
    assert ended == ["slow"]


def test_error_is_raised() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(race(asyncio.sleep(60), fail()))


def test_cancelling_ends_all() -> None:
    async def work() -> None:
        task = asyncio.ensure_future(race(asyncio.sleep(60), asyncio.sleep(60)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(work())
