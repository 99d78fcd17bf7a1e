"""What is written into the page is escaped and complete, and asks no other host."""

import json

import numpy as np
import pytest

from antiphon.demo.conversation import Conversation, Conversations
from antiphon.demo.handlers import Status
from antiphon.demo.labels import CHINESE_PHRASES, Phrases
from antiphon.demo.live_reply import TokenView
from antiphon.demo.style import (
    downloads_html,
    event_log_words,
    page_file,
    picture_html,
    status_html,
    timings_html,
)
from antiphon.realtime.conversation_store import ConversationStore

FILES = ("page.js", "page.css", "bridge.js", "event_log.js", "event_log.html")


@pytest.fixture
def conversation(tmp_path) -> Conversation:
    return Conversations(ConversationStore(tmp_path)).open(None)


def test_status_is_escaped_and_read_aloud():
    shown = status_html(Status("error", "<b>bad</b> & worse"))
    assert "&lt;b&gt;bad&lt;/b&gt; &amp; worse" in shown
    assert 'role="alert"' in shown
    assert 'role="status"' in status_html(Status("busy", "working"))


def test_timings_show_what_happened_in_the_language_of_the_page():
    tokens = TokenView(timings={"tokenise_ms": 125.0, "unknown_ms": 1.0}, rtf=0.5)
    shown = timings_html(tokens, Phrases())
    assert "<dt>question to speech tokens</dt><dd>0.125 s</dd>" in shown
    assert "0.50 s" in shown
    assert "unknown" not in shown
    assert "问题转为语音词元" in timings_html(tokens, CHINESE_PHRASES)
    assert timings_html(TokenView(), Phrases()) == ""
    assert timings_html(None, Phrases()) == ""


def test_links_lead_to_the_last_reply(conversation):
    assert downloads_html(conversation, Phrases()) == ""
    assert Phrases().no_reply in picture_html(conversation, Phrases())
    conversation.add_reply("first", None, 0, "completed", {})
    assert ".wav" not in downloads_html(conversation, Phrases())
    item = conversation.add_reply("second", np.ones(800, np.float32), 8000, "completed", {})
    shown = downloads_html(conversation, Phrases())
    for address in (f"item/{item.id}.wav", f"item/{item.id}.json", f"{conversation.id}.zip"):
        assert address in shown
    assert f"{item.id}.png?theme=dark" in picture_html(conversation, Phrases())


def test_links_lead_to_each_turn(conversation):
    sound = np.ones(800, np.float32)
    conversation.add_text("typed <b>words</b>")
    first = conversation.add_reply("first", sound, 8000, "completed", {})
    conversation.add_speech(sound, 8000)
    conversation.add_reply("second", None, 0, "failed", {})
    shown = downloads_html(conversation, Phrases())
    typed, _, spoken, failed = conversation.items
    for item in (first, spoken):
        assert f"item/{item.id}.wav" in shown
    for item in (typed, failed):
        assert f"item/{item.id}.wav" not in shown
    assert all(f"item/{item.id}.json" in shown for item in conversation.items)
    assert shown.count("<li>you ") == shown.count("<li>model ") == 2
    assert shown.count("<li>") == 4
    assert "每一轮" in downloads_html(conversation, CHINESE_PHRASES)


def test_the_page_brings_all_it_needs():
    for name in FILES:
        text = page_file(name)
        assert "://" not in text
        assert "@import" not in text
    words = json.loads(event_log_words())
    assert words["en"].keys() == words["zh"].keys()
