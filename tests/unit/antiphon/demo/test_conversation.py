"""A conversation as the page shows it: items as bubbles, one question at a time."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from antiphon.audio import read_audio
from antiphon.demo.conversation import BrowserTab, Conversation, Conversations, forget
from antiphon.demo.labels import CHINESE_PHRASES, Phrases
from antiphon.dialogue.session import Turn
from antiphon.errors import AntiphonError
from antiphon.realtime.conversation_store import ConversationItem, ConversationStore


@pytest.fixture
def store(tmp_path) -> ConversationStore:
    return ConversationStore(tmp_path)


@pytest.fixture
def conversation(store) -> Conversation:
    return Conversations(store).open(None)


def loud(n: int = 800) -> np.ndarray:
    return np.full(n, 0.25, np.float32)


def test_clips_are_kept_and_can_be_read_again(conversation, tmp_path):
    conversation.add_speech(loud(), 16_000)
    conversation.add_reply("yes", 3 * loud(), 22_050, "completed", {})
    (question,), (text, reply) = (each["content"] for each in conversation.bubbles(Phrases()))
    assert text == "yes"
    assert np.allclose(read_audio(question["path"], 16_000), 0.25, atol=1e-4)
    assert np.allclose(read_audio(reply["path"], 22_050), 0.75, atol=1e-4)
    assert Path(question["path"]).is_relative_to(tmp_path)


def test_the_same_id_is_the_same_conversation(store, conversation):
    again = Conversations(store).open(conversation.id)
    conversation.add_text("hello")
    assert again.bubbles(Phrases()) == [{"role": "user", "content": ["hello"]}]
    assert Conversations(store).open(None).id != conversation.id


@pytest.mark.parametrize("name", ["../secret", "A" * 32, "0" * 31])
def test_what_is_no_id_is_refused(store, name):
    with pytest.raises(AntiphonError, match="conversation"):
        Conversations(store).open(name)


@pytest.mark.parametrize(
    ("changes", "ending"),
    [
        ({"status": "cut", "heard_ms": 2800}, "■ Interrupted after 2.8 s"),
        ({"status": "cut"}, "■ Stopped"),
        ({"status": "cancelled", "heard_ms": 80}, "■ Interrupted after 0.1 s"),
        ({"status": "failed", "details": {"error": "the server is down"}}, "server is down"),
        ({"status": "failed"}, "⚠ No answer"),
    ],
)
def test_how_a_reply_ended_is_shown_where_it_was(conversation, changes, ending):
    item = ConversationItem("item_1", "assistant", "speech", text="It is a")
    conversation.stored.put(replace(item, **changes))
    text, shown = conversation.bubbles(Phrases())[0]["content"]
    assert text == "It is a"
    assert ending in shown
    assert conversation.bubbles(CHINESE_PHRASES)[0]["content"][1] != shown


def test_what_was_cut_before_a_word_and_a_lost_clip_still_show(conversation, tmp_path):
    silent = ConversationItem("item_1", "assistant", "speech", clip=tmp_path / "gone.wav")
    conversation.stored.put(silent)
    assert conversation.bubbles(Phrases())[0]["content"] == [Phrases().silent]


def test_a_reply_under_way_is_a_draft(conversation):
    conversation.add_text("hello")
    exchange = conversation.begin_turn()
    exchange.draft = ""
    assert conversation.bubbles(Phrases())[-1]["content"] == ["…"]
    exchange.draft = "It is"
    assert conversation.bubbles(Phrases())[-1]["content"] == ["It is"]
    conversation.end_turn()
    assert len(conversation.bubbles(Phrases())) == 1


def test_clear_empties_everything(conversation):
    conversation.add_text("hello")
    conversation.add_speech(loud(), 16_000)
    conversation.session.append(Turn("text", (1,), (2,)))
    clip = conversation.items[-1].clip
    conversation.clear()
    assert conversation.bubbles(Phrases()) == []
    assert conversation.session.turns == ()
    assert not clip.exists()
    conversation.add_speech(loud(), 16_000)
    assert conversation.items[-1].clip.exists()


def test_a_tab_that_is_gone_stops_its_turn(conversation):
    forget(None)
    forget(BrowserTab())
    tab = BrowserTab(conversation.begin_turn())
    forget(tab)
    assert conversation.exchange.stopped.is_set()


def test_settle_waits_for_the_turn(conversation):
    async def scenario() -> list[str]:
        steps = []
        exchange = conversation.begin_turn()

        async def turn() -> None:
            await exchange.stopped.wait()
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


def test_settle_gives_up_on_a_turn_that_hangs(conversation):
    async def scenario() -> None:
        conversation.begin_turn()
        await conversation.settle(0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(scenario())
