"""Conversations that a second store, as after a restart, finds again."""

import os
import time
from pathlib import Path

import pytest

from antiphon.dialogue.session import Turn
from antiphon.realtime.conversation_record import RECORD_NAME
from antiphon.realtime.conversation_store import ConversationItem
from antiphon.realtime.kept_conversations import KeptConversations

ID = "0123456789abcdef" * 2
TURN = Turn("speech", (5, 6, 7), (1, 2, 3))


def speak(store: KeptConversations) -> list[ConversationItem]:
    """Say something and hear an answer, with a clip each."""
    conversation = store.open(ID)
    items = []
    for role, item_id in (("user", "item_a"), ("assistant", "item_b")):
        clip = conversation.clip_path(item_id)
        clip.write_bytes(b"sound")
        said = ConversationItem(item_id, role, "speech", "words", clip, 80, details={"rtf": 0.5})
        items.append(said)
        if role == "assistant":
            conversation.session.append(TURN)
        conversation.put(said)
    return items


def test_what_was_said_outlives_a_crash(tmp_path: Path) -> None:
    items = speak(KeptConversations(tmp_path, "a"))  # and is never closed
    found = KeptConversations(tmp_path, "a").get(ID)
    assert found is not None
    assert found.items == items
    assert found.session.turns == (TURN,)
    assert all(item.clip is not None and item.clip.read_bytes() == b"sound" for item in found.items)


def test_closing_keeps_and_later_changes_count(tmp_path: Path) -> None:
    store = KeptConversations(tmp_path, "a")
    speak(store)
    store.open(ID).remove("item_a")
    store.close()
    again = KeptConversations(tmp_path, "a")
    assert [item.id for item in again.open(ID).items] == ["item_b"]
    again.open(ID).put(ConversationItem("item_c", "user", "text", "more"))
    assert [i.id for i in KeptConversations(tmp_path, "a").open(ID).items] == ["item_b", "item_c"]


def test_another_model_begins_anew(tmp_path: Path) -> None:
    speak(KeptConversations(tmp_path, "a"))
    store = KeptConversations(tmp_path, "b")
    assert store.get(ID) is None
    assert store.open(ID).items == []


@pytest.mark.parametrize(
    "text", ["", "{", '{"model": "a"}', '{"model":"a","items":[{}],"turns":[]}']
)
def test_a_broken_record_begins_anew(tmp_path: Path, text: str) -> None:
    speak(KeptConversations(tmp_path, "a"))
    (tmp_path / ID / RECORD_NAME).write_text(text)
    assert KeptConversations(tmp_path, "a").get(ID) is None


def test_idle_ones_go_from_the_disk_too(tmp_path: Path) -> None:
    speak(KeptConversations(tmp_path, "a"))
    old = time.time() - 100
    os.utime(tmp_path / ID / RECORD_NAME, (old, old))
    KeptConversations(tmp_path, "a", idle_s=200)
    assert (tmp_path / ID).exists()
    KeptConversations(tmp_path, "a", idle_s=50)
    assert not (tmp_path / ID).exists()


def test_too_many_on_disk_lose_the_oldest(tmp_path: Path) -> None:
    store = KeptConversations(tmp_path, "a")
    names = [f"{n:032x}" for n in range(4)]
    for age, name in enumerate(names):
        store.open(name).put(ConversationItem("item_a", "user", "text", "words"))
        when = time.time() - age
        os.utime(tmp_path / name / RECORD_NAME, (when, when))
    KeptConversations(tmp_path, "a", max_kept=2)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == names[:2]


def test_others_of_the_machine_cannot_read_it(tmp_path: Path) -> None:
    speak(KeptConversations(tmp_path / "kept", "a"))
    for folder in (tmp_path / "kept", tmp_path / "kept" / ID):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_full_memory_only_puts_away(tmp_path: Path) -> None:
    store = KeptConversations(tmp_path, "a", max_conversations=1)
    items = speak(store)
    store.open("f" * 32)
    assert len(store) == 1
    found = store.get(ID)
    assert found is not None
    assert found.items == items


def test_cleared_is_gone(tmp_path: Path) -> None:
    store = KeptConversations(tmp_path, "a")
    speak(store)
    store.open(ID).clear()
    store.close()
    assert not (tmp_path / ID).exists()


def test_names_from_outside_are_never_paths(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert KeptConversations(tmp_path / "x", "a").get("../x") is None
