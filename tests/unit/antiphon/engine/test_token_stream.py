"""The queue between worker and reader: bounded, never blocking, heard when things change."""

import asyncio
import threading

from antiphon.engine.base import TokenChunk
from antiphon.engine.token_stream import BUFFER_SIZE, Bell, Item, Outbox, TokenStream
from tests.tiny_glm import collect


def test_a_full_buffer_says_so_and_the_worker_hears_when_there_is_room() -> None:
    calls: list[bool] = []
    outbox = Outbox(lambda: calls.append(outbox.has_room))
    for number in range(BUFFER_SIZE):
        assert outbox.has_room
        outbox.put(TokenChunk((number,)))
    assert not outbox.has_room
    outbox.put(TokenChunk((), "cancelled"))  # the end is put all the same

    async def read(n: int) -> list[object]:
        return [await outbox.get() for _ in range(n)]

    assert asyncio.run(read(1)) == [TokenChunk((0,))]
    assert calls == [False], "the end took the place that became free"
    asyncio.run(read(1))
    assert calls == [False, True]
    rest = asyncio.run(read(BUFFER_SIZE - 1))
    assert rest[-1] == TokenChunk((), "cancelled")
    assert calls == [False, True]


def test_cancelling_is_heard_and_closing_after_the_end_is_not_cancelling() -> None:
    calls: list[str] = []
    outbox = Outbox(lambda: calls.append("changed"))
    stream = TokenStream(outbox)
    asyncio.run(stream.aclose())
    asyncio.run(stream.aclose())
    assert (outbox.is_cancelled, calls) == (True, ["changed"])
    finished = Outbox(lambda: calls.append("changed"))
    finished.put(TokenChunk((1,), "stop"))
    assert asyncio.run(collect(TokenStream(finished))) == ([1], "stop")
    assert (finished.is_cancelled, calls) == (False, ["changed"])


def test_a_reader_gets_everything_that_another_thread_puts() -> None:
    outbox = Outbox()

    def write() -> None:
        for number in range(3000):
            outbox.put(TokenChunk((number,)))
        outbox.put(TokenChunk((), "length"))

    thread = threading.Thread(target=write)
    thread.start()
    ids, reason = asyncio.run(asyncio.wait_for(collect(TokenStream(outbox)), 60))
    thread.join()
    assert (ids, reason) == (list(range(3000)), "length")


def test_one_call_into_the_loop_wakes_all_readers() -> None:
    async def read() -> list[Item]:
        loop = CountingLoop(asyncio.get_running_loop())
        outboxes, bell = [Outbox() for _ in range(5)], Bell()
        reads = [asyncio.create_task(outbox.get()) for outbox in outboxes]
        await asyncio.sleep(0)
        for number, outbox in enumerate(outboxes):
            outbox.put(TokenChunk((number,)), bell)
        await asyncio.sleep(0.01)
        assert not any(read.done() for read in reads), "the bell has not been rung"
        with loop:
            await asyncio.to_thread(bell.ring)
        assert loop.n_calls == 2  # the bell's, and that the thread is done
        return await asyncio.gather(*reads)

    assert asyncio.run(read()) == [TokenChunk((number,)) for number in range(5)]


def test_a_bell_cancels_what_a_closed_loop_will_never_read() -> None:
    outbox, bell = Outbox(), Bell()
    loop = asyncio.new_event_loop()
    read = loop.create_task(outbox.get())
    loop.run_until_complete(asyncio.sleep(0))
    outbox.put(TokenChunk((1,)), bell)
    read.cancel()
    loop.run_until_complete(asyncio.wait([read]))
    loop.close()
    bell.ring()
    assert outbox.is_cancelled


class CountingLoop:
    """Counts calls that other threads make into an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.n_calls = loop, 0
        self.call = loop.call_soon_threadsafe

    def __enter__(self) -> None:
        def count(*args: object, **options: object) -> object:
            self.n_calls += 1
            return self.call(*args, **options)  # type: ignore[arg-type]

        self.loop.call_soon_threadsafe = count  # type: ignore[assignment]

    def __exit__(self, *exc: object) -> None:
        self.loop.call_soon_threadsafe = self.call  # type: ignore[method-assign]
