"""The commands that ask again: quoted for a shell, with the settings of the last reply."""

import json
import shlex

import numpy as np
import pytest

from antiphon.demo.conversation import Conversation, Conversations
from antiphon.demo.curl_command import curl_command
from antiphon.realtime.conversation_store import ConversationStore

BASE = "http://voice.example/"


@pytest.fixture
def conversation(tmp_path) -> Conversation:
    return Conversations(ConversationStore(tmp_path)).open(None)


def test_nothing_asked_nothing_to_ask_again(conversation):
    assert curl_command(conversation, BASE) == ""


def test_what_was_typed_survives_a_shell(conversation):
    typed = 'what\'s "this" $(rm -rf) `x` 你好'
    conversation.add_text(typed)
    sampling = {"temperature": 0.5, "top_p": 0.9, "max_new_tokens": 100, "seed": None}
    conversation.add_reply("yes", None, 0, "completed", {"sampling": sampling})
    words = shlex.split(curl_command(conversation, BASE).replace("\\\n", "").split("$(", 1)[1])
    data = json.loads(words[words.index("-d") + 1])
    assert data == {"data": [typed, "", 0.5, 0.9, 100, -1]}
    assert f"{BASE}gradio_api/call/chat" in words


def test_what_was_spoken_is_fetched_and_uploaded(conversation):
    conversation.add_speech(np.ones(160, np.float32), 16_000)
    shown = curl_command(conversation, BASE)
    item = conversation.items[0]
    assert f"{BASE}conversation/{conversation.id}/item/{item.id}.wav" in shown
    assert '"$FILE"' in shown
    assert "call/voice" in shown
