"""Conversations: ids, limits, listeners, clips."""

from pathlib import Path

import pytest

from antiphon.errors import ConfigError, ServerBusyError
from antiphon.realtime.conversation_store import ConversationItem, ConversationStore


def test_ids_are_checked_and_found_again(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path)
    made = store.open()
    assert store.open(made.id) is made and store.get(made.id) is made
    assert store.open("a" * 32).id == "a" * 32
    for bad in ("", "../x", "A" * 32, "a" * 31, "a" * 32 + "\n"):
        with pytest.raises(ConfigError, match="32 digits"):
            store.open(bad)
    store.close()
    assert not list(tmp_path.iterdir())


def test_the_one_idle_longest_goes_first(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path, max_conversations=2)
    first, second = store.open(), store.open()
    first.clip_path("item_1").write_bytes(b"x")
    with second.hold():
        third = store.open()
        assert store.get(first.id) is None and not first.folder.exists()
        with third.hold(), pytest.raises(ServerBusyError, match="2 conversations"):
            store.open()


def test_idle_ones_are_swept(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path, idle_s=100)
    kept, gone = store.open(), store.open()
    gone.touched -= 200
    kept.touched -= 50
    store.sweep()
    assert store.get(kept.id) is kept and store.get(gone.id) is None


def test_listeners_hear_of_changes(tmp_path: Path) -> None:
    conversation = ConversationStore(tmp_path).open()
    heard: list[ConversationItem] = []
    unsubscribe = conversation.subscribe(heard.append)
    item = ConversationItem("item_1", "user", "text", "Hello")
    conversation.put(item)
    conversation.put(ConversationItem("item_1", "user", "text", "Hello!"))
    unsubscribe()
    conversation.put(ConversationItem("item_2", "user", "text"))
    assert [each.text for each in heard] == ["Hello", "Hello!"]
    assert len(conversation.items) == 2
    assert item.to_json()["has_clip"] is False
    assert conversation.remove("item_1") is not None and conversation.remove("item_1") is None
