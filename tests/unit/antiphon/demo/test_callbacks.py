"""Buttons: which components change, and which settings are refused."""

import asyncio
from types import SimpleNamespace

import pytest

from antiphon.demo.callbacks import Callbacks, Parts, base_url, phrases_of
from antiphon.demo.conversation import BrowserTab, Conversation, Conversations
from antiphon.demo.handlers import TurnHandler
from antiphon.demo.labels import CHINESE_PHRASES, Phrases
from antiphon.demo.layout import DeveloperParts, Header, TurnParts
from antiphon.errors import EngineError
from antiphon.realtime.conversation_store import ConversationItem, ConversationStore
from tests.fake_pipeline import FakePipeline

SETTINGS = (0.2, 0.8, 2000, -1, "")
CHINESE = SimpleNamespace(headers={"accept-language": "zh-CN"})
ENGLISH = SimpleNamespace(headers={})


def named(kind):
    """Make a group of components with names in their place: updates are keyed by them."""
    return kind(**{name: name for name in kind.__dataclass_fields__})


@pytest.fixture
def parts() -> Parts:
    return Parts(named(Header), named(TurnParts), named(DeveloperParts))


@pytest.fixture
def conversations(tmp_path) -> Conversations:
    return Conversations(ConversationStore(tmp_path))


@pytest.fixture
def conversation(conversations) -> Conversation:
    return conversations.open(None)


@pytest.fixture
def make(parts, conversations):
    def build(*, streams=True, check=None, **settings) -> Callbacks:
        handler = TurnHandler(FakePipeline(pace_s=0.0, **settings))
        return Callbacks(handler, conversations, parts, streams=streams, check=check)

    return build


@pytest.fixture
def ask(conversation):
    def collect(callbacks, text, settings=SETTINGS, request=ENGLISH) -> list[dict]:
        async def scenario() -> list[dict]:
            asked = callbacks.on_text(conversation.id, BrowserTab(), text, *settings, request)
            return [update async for update in asked]

        return asyncio.run(scenario())

    return collect


def test_typed_question_empties_the_box_and_streams_sound(make, ask, parts, conversation):
    steps = ask(make(), "hello")
    assert steps[0]["text"] is None
    assert all("text" not in step for step in steps[1:])
    assert [type(step["player"]) for step in steps if "player" in step] == [bytes] * 8
    assert steps[-2]["audio_tokens"] == "200 201 202 203 204 205 206 207"
    assert "0.050 s" in steps[-2]["timings"]
    for step in steps:
        assert set(step) <= set(parts.shown)
    reply = conversation.last_reply()
    assert f"{reply.id}.wav" in steps[-1]["downloads"]
    assert f"{reply.id}.png" in steps[-1]["picture"]
    assert "call/chat" in steps[-1]["curl"]


def test_without_ffmpeg_the_whole_clip_is_played_once(make, ask):
    steps = ask(make(streams=False), "hello")
    played = [step["player"] for step in steps if "player" in step]
    assert played == [steps[-2]["chat"][-1]["content"][1]["path"]]


@pytest.mark.parametrize("text", ["", "  \n ", None])
def test_nothing_asked(make, ask, conversation, text):
    (step,) = ask(make(), text, request=CHINESE)
    assert CHINESE_PHRASES.nothing in step["status"]
    assert 'role="alert"' in step["status"]

    async def scenario() -> list[dict]:
        asked = make().on_clip(conversation.id, BrowserTab(), None, *SETTINGS, ENGLISH)
        return [update async for update in asked]

    (step,) = asyncio.run(scenario())
    assert Phrases().nothing in step["status"]


def test_failed_question_goes_back_into_the_box(make, ask):
    steps = ask(make(), "fail now")
    assert steps[-2]["text"] == "fail now"
    assert "the model server does not answer" in steps[-2]["status"]


def test_bad_setting_is_refused_in_words(make, ask, conversation):
    (step,) = ask(make(), "hello", (0.2, 0.8, 0, -1, ""))
    assert "max_new_tokens" in step["status"]
    assert conversation.items == ()


def test_clear_empties_page_and_dialogue(make, ask, conversation):
    callbacks = make()
    ask(callbacks, "hello")
    updates = asyncio.run(callbacks.on_clear(conversation.id, ENGLISH))
    assert updates["chat"] == []
    assert updates["player"] is None
    assert updates["audio_tokens"] == ""
    assert updates["downloads"] == updates["curl"] == ""
    assert conversation.session.turns == ()


def test_a_new_conversation_leaves_the_old_one_as_it_was(make, ask, conversation, conversations):
    callbacks, tab = make(), BrowserTab()
    ask(callbacks, "hello")
    tab.exchange = conversation.begin_turn()
    other = conversations.open(None)
    updates = asyncio.run(callbacks.on_new(other.id, tab, ENGLISH))
    assert updates["chat"] == []
    assert Phrases().renewed in updates["status"]
    assert tab.exchange.stopped.is_set()
    assert len(conversation.items) == 2


def test_what_was_said_in_a_call_is_shown(make, conversation, tmp_path):
    item = ConversationItem(
        "item_1",
        "assistant",
        "speech",
        text="It is",
        status="cut",
        heard_ms=1200,
        details={"tokens": {"audio": [7, 8]}, "timings": {"endpoint_ms": 420}, "rtf": 0.5},
    )
    conversation.stored.put(item)
    updates = asyncio.run(make().on_changed(conversation.id, ENGLISH))
    assert updates["chat"][0]["content"] == ["It is", "■ Interrupted after 1.2 s"]
    assert updates["audio_tokens"] == "7 8"
    assert "0.420 s" in updates["timings"]
    assert "player" not in updates


def test_stop_waits_for_the_turn_and_shows_it(make, conversation):
    callbacks = make(n_chunks=10_000, chunk_s=0.001)

    async def scenario() -> dict:
        async def turn() -> None:
            asked = callbacks.on_text(conversation.id, BrowserTab(), "count", *SETTINGS, ENGLISH)
            async for _ in asked:
                await asyncio.sleep(0)

        running = asyncio.create_task(turn())
        while not conversation.is_answering:  # noqa: ASYNC110 - nothing to wait on
            await asyncio.sleep(0.005)
        while not conversation.exchange.draft:  # noqa: ASYNC110 - nothing to wait on
            await asyncio.sleep(0.005)
        await callbacks.on_stop(conversation.id)
        updates = await callbacks.on_stopped(conversation.id, ENGLISH)
        assert not conversation.is_answering
        await running
        return updates

    updates = asyncio.run(asyncio.wait_for(scenario(), 20))
    assert updates["player"] is None
    assert updates["chat"][-1]["content"][-1] == "■ Stopped"


def test_opened_page_shows_its_conversation_and_whether_it_can_answer(make, ask, conversation):
    failing = [EngineError("no server at home")]

    async def check() -> None:
        if failing:
            raise failing[0]

    callbacks = make(check=check)
    ask(make(), "hello")
    updates = asyncio.run(callbacks.on_load(conversation.id, ENGLISH))
    assert [message["role"] for message in updates["chat"]] == ["user", "assistant"]
    assert "no server at home" in updates["status"]
    assert "no server at home" in updates["health_words"]
    assert updates["health"]["visible"]
    assert updates["health_timer"]["active"]
    failing.clear()
    updates = asyncio.run(callbacks.on_check(ENGLISH))
    assert not updates["health"]["visible"]
    assert not updates["health_timer"]["active"]
    assert Phrases().ready in updates["status"]
    assert CHINESE_PHRASES.ready in asyncio.run(make().on_load("", CHINESE))["status"]


def test_language_is_the_cookies_then_the_browsers():
    headers = {"accept-language": "zh-CN", "cookie": "other=1; antiphon_language=en"}
    assert phrases_of(SimpleNamespace(headers=headers)) == Phrases()
    assert phrases_of(CHINESE) == CHINESE_PHRASES
    assert phrases_of(None) == Phrases()
    spoilt = SimpleNamespace(headers={"accept-language": "zh", "cookie": "a[]=\x01;;="})
    assert phrases_of(spoilt) == CHINESE_PHRASES


def test_the_address_is_the_one_the_browser_used():
    url = SimpleNamespace(url=SimpleNamespace(scheme="https"))
    direct = SimpleNamespace(headers={"host": "voice.example:81"}, request=url)
    assert base_url(direct) == "https://voice.example:81/"
    behind = SimpleNamespace(headers={"host": "v.example", "x-forwarded-proto": "https"})
    assert base_url(behind) == "https://v.example/"
