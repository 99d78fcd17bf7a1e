"""Buttons: which components change, and which settings are refused."""

import asyncio
from types import SimpleNamespace

import pytest

from antiphon.demo.callbacks import Callbacks, Parts, read_options
from antiphon.demo.conversation import Conversation
from antiphon.demo.handlers import TurnHandler
from antiphon.demo.labels import CHINESE_PHRASES, Phrases
from antiphon.errors import ConfigError, EngineError
from tests.fake_pipeline import FakePipeline

SETTINGS = (0.2, 0.8, 2000, -1)
CHINESE = SimpleNamespace(headers={"accept-language": "zh-CN"})
ENGLISH = SimpleNamespace(headers={})


@pytest.fixture
def parts():
    """Names in the place of components: updates are keyed by them."""
    names = ("conversation", "chat", "status", "text", "mic", "send", "stop", "clear", "player")
    return Parts(
        **{name: name for name in names},
        settings=("temperature", "top_p", "max_tokens", "seed"),
        token_boxes=("user_tokens", "text_tokens", "audio_tokens"),
        timings="timings",
    )


@pytest.fixture
def conversation(tmp_path):
    return Conversation(clip_root=tmp_path)


def make(parts, *, streams=True, **settings) -> Callbacks:
    return Callbacks(TurnHandler(FakePipeline(pace_s=0.0, **settings)), parts, streams=streams)


def collect(updates) -> list[dict]:
    async def scenario() -> list[dict]:
        return [update async for update in updates]

    return asyncio.run(scenario())


def test_typed_question_empties_the_box_and_streams_sound(parts, conversation):
    steps = collect(make(parts).on_text(conversation, "hello", *SETTINGS, ENGLISH))
    assert steps[0]["text"] is None
    assert steps[0]["conversation"] is conversation
    assert all("text" not in step for step in steps[1:])
    assert [type(step["player"]) for step in steps if "player" in step] == [bytes] * 8
    assert steps[-1]["audio_tokens"] == "200 201 202 203 204 205 206 207"
    assert "0.050 s" in steps[-1]["timings"]
    for step in steps:
        assert set(step) <= set(parts.shown)


def test_without_ffmpeg_the_whole_clip_is_played_once(parts, conversation):
    callbacks = make(parts, streams=False)
    steps = collect(callbacks.on_text(conversation, "hello", *SETTINGS, ENGLISH))
    played = [step["player"] for step in steps if "player" in step]
    assert played == [steps[-1]["chat"][-1]["content"][1]["path"]]


@pytest.mark.parametrize("text", ["", "  \n ", None])
def test_nothing_asked(parts, conversation, text):
    (step,) = collect(make(parts).on_text(conversation, text, *SETTINGS, CHINESE))
    assert CHINESE_PHRASES.nothing in step["status"]
    assert 'role="alert"' in step["status"]
    (step,) = collect(make(parts).on_clip(conversation, None, *SETTINGS, ENGLISH))
    assert Phrases().nothing in step["status"]


def test_failed_question_goes_back_into_the_box(parts, conversation):
    steps = collect(make(parts).on_text(conversation, "fail now", *SETTINGS, ENGLISH))
    assert steps[-1]["text"] == "fail now"
    assert "the model server does not answer" in steps[-1]["status"]


def test_bad_setting_is_refused_in_words(parts, conversation):
    settings = (0.2, 0.8, 0, -1)
    (step,) = collect(make(parts).on_text(conversation, "hello", *settings, ENGLISH))
    assert "max_new_tokens" in step["status"]
    assert conversation.messages == []


def test_clear_empties_page_and_dialogue(parts, conversation):
    callbacks = make(parts)
    collect(callbacks.on_text(conversation, "hello", *SETTINGS, ENGLISH))
    updates = asyncio.run(callbacks.on_clear(conversation, ENGLISH))
    assert updates["chat"] == []
    assert updates["player"] is None
    assert updates["audio_tokens"] == ""
    assert conversation.session.turns == ()


def test_stop_waits_for_the_turn_and_shows_it(parts, conversation):
    callbacks = make(parts, n_chunks=10_000, chunk_s=0.001)

    async def scenario() -> dict:
        async def turn() -> None:
            async for _ in callbacks.on_text(conversation, "count", *SETTINGS, ENGLISH):
                await asyncio.sleep(0)

        running = asyncio.create_task(turn())
        while len(conversation.messages) < 2:  # noqa: ASYNC110 - nothing to wait on
            await asyncio.sleep(0.005)
        await callbacks.on_stop(conversation)
        updates = await callbacks.on_stopped(conversation, ENGLISH)
        assert not conversation.is_answering
        await running
        return updates

    updates = asyncio.run(asyncio.wait_for(scenario(), 20))
    assert updates["player"] is None
    assert updates["chat"][-1]["content"][-1] == "■ Stopped"


def test_opened_page_says_whether_it_can_answer(parts):
    async def check() -> None:
        raise EngineError("no server at home")

    turns = TurnHandler(FakePipeline())
    failing = Callbacks(turns, parts, streams=True, check=check)
    assert "no server at home" in asyncio.run(failing.on_load(ENGLISH))
    assert CHINESE_PHRASES.ready in asyncio.run(make(parts).on_load(CHINESE))


def test_options_are_read():
    options = read_options(0.5, 0.9, 100.0, 7.0)
    assert (options.temperature, options.top_p) == (0.5, 0.9)
    assert (options.max_new_tokens, options.seed) == (100, 7)
    assert read_options(0.5, 0.9, 100, -1).seed is None
    assert read_options(0.5, 0.9, 100, None).seed is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((-0.1, 0.8, 10, -1), "temperature"),
        ((0.2, 0.0, 10, -1), "top_p"),
        ((0.2, 0.8, 0, -1), "max_new_tokens"),
        ((0.2, 0.8, float("inf"), -1), "number"),
        ((None, 0.8, 10, -1), "temperature"),
        ((0.2, 0.8, 10, -2), "seed"),
        ((0.2, 0.8, 10, 1e12), "seed"),
        ((0.2, 0.8, 10, float("nan")), "seed"),
    ],
)
def test_bad_options_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        read_options(*settings)
