"""The state of one tab: clips, stopping, clearing."""

import asyncio
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from antiphon.audio import read_audio
from antiphon.demo.conversation import Conversation, Message, forget
from antiphon.dialogue.session import Turn


def loud(n: int = 800) -> np.ndarray:
    return np.full(n, 0.25, np.float32)


def test_clips_are_kept_and_can_be_read_again(tmp_path):
    conversation = Conversation(clip_root=tmp_path)
    first = conversation.keep_clip(loud(), 16_000, "question")
    second = conversation.keep_clip(3 * loud(), 22_050, "reply")
    assert first["path"] != second["path"]
    assert np.allclose(read_audio(first["path"], 16_000), 0.25, atol=1e-4)
    assert np.allclose(read_audio(second["path"], 22_050), 0.75, atol=1e-4)
    assert Path(first["path"]).is_relative_to(tmp_path)


def test_tabs_do_not_share_a_folder(tmp_path):
    blank = Conversation(clip_root=tmp_path)
    one, two = deepcopy(blank), deepcopy(blank)
    path_one = Path(one.keep_clip(loud(), 16_000, "a")["path"])
    path_two = Path(two.keep_clip(loud(), 16_000, "a")["path"])
    assert path_one.parent != path_two.parent
    assert one.session.id != two.session.id
    forget(one)
    assert not path_one.parent.exists()
    assert path_two.exists()


def test_clear_empties_everything(tmp_path):
    conversation = Conversation(clip_root=tmp_path)
    conversation.messages.append(Message(role="user", content=["hello"]))
    conversation.session.append(Turn("text", (1,), (2,)))
    conversation.keep_clip(loud(), 16_000, "question")
    conversation.clear()
    assert conversation.messages == []
    assert conversation.session.turns == ()
    assert list(tmp_path.iterdir()) == []
    assert conversation.keep_clip(loud(), 16_000, "question")["path"]


def test_forgetting_a_tab_that_never_spoke_is_fine():
    forget(None)
    forget(Conversation())


def test_settle_waits_for_the_turn():
    async def scenario() -> list[str]:
        conversation, steps = Conversation(), []
        stopped = conversation.begin_turn()

        async def turn() -> None:
            await stopped.wait()
            steps.append("ended")
            conversation.end_turn()

        running = asyncio.create_task(turn())
        conversation.stop()
        await conversation.settle(5)
        steps.append("settled")
        await running
        await conversation.settle(5)  # nothing under way: returns at once
        return steps

    assert asyncio.run(scenario()) == ["ended", "settled"]


def test_settle_gives_up_on_a_turn_that_hangs():
    async def scenario() -> None:
        conversation = Conversation()
        conversation.begin_turn()
        await conversation.settle(0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(scenario())
