"""Fixtures of the call tests."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Calls run on asyncio."""
    return "asyncio"
