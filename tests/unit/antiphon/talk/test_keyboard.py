"""Keys come one by one from a terminal, which is put back as it was."""

import asyncio
import os
import pty
import termios

from antiphon.talk.keyboard import Keyboard


def test_keys_come_without_enter_and_the_terminal_is_restored() -> None:
    async def work() -> None:
        ours, theirs = pty.openpty()
        before = termios.tcgetattr(theirs)
        try:
            with Keyboard(theirs) as keyboard:
                assert keyboard.is_there
                os.write(ours, b"m ")
                async with asyncio.timeout(5):
                    assert [await keyboard.next_key() for _ in range(2)] == ["m", " "]
            assert termios.tcgetattr(theirs) == before
        finally:
            os.close(ours)
            os.close(theirs)

    asyncio.run(work())


def test_no_terminal() -> None:
    ours, theirs = os.pipe()
    try:
        with Keyboard(ours) as keyboard:
            assert not keyboard.is_there
    finally:
        os.close(ours)
        os.close(theirs)
