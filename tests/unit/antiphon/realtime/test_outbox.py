"""A slow client never grows memory."""

import asyncio

import pytest

from antiphon.api.realtime_messages import message
from antiphon.errors import ServerConnectionError
from antiphon.realtime import outbox as module
from antiphon.realtime.outbox import Outbox

pytestmark = pytest.mark.anyio


async def test_frames_come_in_order_and_makers_wait() -> None:
    outbox = Outbox(soft_limit=10)
    outbox.send_frames("a", b"bb")
    await asyncio.wait_for(outbox.wait_for_room(), 1)
    outbox.send_frames(b"c" * 20)
    waiting = asyncio.create_task(outbox.wait_for_room())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    assert [await outbox.take() for _ in range(3)] == ["a", b"bb", b"c" * 20]
    await asyncio.wait_for(waiting, 1)
    assert outbox.n_bytes == 0


async def test_a_client_that_asks_for_more_than_it_reads_is_given_up() -> None:
    outbox = Outbox(hard_limit=1000)
    for _ in range(100):
        outbox.send(message("antiphon.pong", t=1))
    assert outbox.is_closed and outbox.n_bytes == 0
    assert await outbox.take() is None


async def test_a_client_that_reads_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_S", 0.05)
    outbox = Outbox(soft_limit=10)
    outbox.send_frames(b"c" * 20)
    with pytest.raises(ServerConnectionError, match="read nothing"):
        await outbox.wait_for_room()
    assert outbox.is_closed
