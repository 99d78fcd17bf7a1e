"""Runs coroutines side by side until the first ends; none outlives the others."""

import asyncio
from collections.abc import Coroutine


async def race(*coroutines: Coroutine[None, None, object]) -> None:
    """Run all until one ends or fails, then end the others; an error of the first is raised."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for task, result in zip(tasks, results, strict=True):
        if task in done and isinstance(result, BaseException):
            raise result
