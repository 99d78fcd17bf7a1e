"""A question becomes views of its answer; whatever goes wrong is said in words."""

import asyncio
import io
import wave

import numpy as np
import pytest

from antiphon.audio import read_audio, write_wav
from antiphon.demo.conversation import BrowserTab, Conversation, Conversations, forget
from antiphon.demo.handlers import Question, TurnHandler, View, until_stopped, wav_bytes
from antiphon.demo.labels import Phrases
from antiphon.dialogue.events import TextDelta
from antiphon.dialogue.turn_pipeline import TurnOptions
from antiphon.realtime.conversation_store import ConversationStore
from tests.fake_pipeline import RATE, FakePipeline

OPTIONS = TurnOptions(temperature=0.0, seed=3)


@pytest.fixture
def conversation(tmp_path) -> Conversation:
    return Conversations(ConversationStore(tmp_path)).open(None)


@pytest.fixture
def pipeline():
    return FakePipeline(pace_s=0.0)


def ask(pipeline, conversation, question) -> list[View]:
    async def scenario() -> list[View]:
        turns = TurnHandler(pipeline).answer(conversation, question, OPTIONS, Phrases())
        return [step async for step in turns]

    return asyncio.run(scenario())


def samples(wav: bytes) -> np.ndarray:
    with wave.open(io.BytesIO(wav)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (RATE, 2, 1)
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def test_typed_question_streams_text_and_sound(pipeline, conversation):
    views = ask(pipeline, conversation, Question(text="how are you"))
    texts = [view.messages[-1]["content"][0] for view in views]
    assert views[0].status.words == Phrases().thinking
    assert views[0].messages[0] == {"role": "user", "content": ["how are you"]}
    assert texts[-1] == "It is a fine answer"
    played = np.concatenate([samples(view.sound) for view in views if view.sound])
    expected = np.concatenate([pipeline.tone(i) for i in range(pipeline.n_chunks)])
    assert np.abs(played / 32_768 - expected).max() < 1e-4
    last = views[-1]
    assert last.status.mood == "done"
    assert np.allclose(read_audio(last.clip, RATE), expected, atol=1e-4)
    assert last.tokens.text == [100, 101, 102]
    assert last.tokens.audio == list(range(200, 208))
    assert last.tokens.timings["first_audio_ms"] == 50
    assert pipeline.options == [OPTIONS]
    assert not conversation.is_answering


def test_spoken_question_is_heard_at_16_khz_and_can_be_replayed(pipeline, conversation, tmp_path):
    tone = 0.4 * np.sin(np.arange(44_100) / 20).astype(np.float32)
    write_wav(tmp_path / "question.wav", tone, 44_100)
    views = ask(pipeline, conversation, Question(clip=str(tmp_path / "question.wav")))
    assert views[0].status.words == Phrases().listening
    turn = pipeline.asked[0]
    assert turn.sample_rate == 16_000
    assert len(turn.waveform) == 16_000
    replay = views[-1].messages[0]["content"][0]
    assert np.allclose(read_audio(replay["path"], 16_000), turn.waveform, atol=1e-4)
    assert views[-1].tokens.user == [11, 12, 13]


def test_second_turn_adds_to_the_first(pipeline, conversation):
    ask(pipeline, conversation, Question(text="one"))
    views = ask(pipeline, conversation, Question(text="two"))
    roles = [message["role"] for message in views[-1].messages]
    assert roles == ["user", "assistant", "user", "assistant"]
    assert len(conversation.session.turns) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"this is no sound at all" * 50, "damaged"), (None, "cannot open")],
    ids=["empty", "corrupt", "missing"],
)
def test_bad_audio_is_said_in_words(pipeline, conversation, tmp_path, content, words):
    ask(pipeline, conversation, Question(text="before"))
    before = conversation.bubbles(Phrases())
    path = tmp_path / "bad.wav"
    if content is not None:
        path.write_bytes(content)
    question = Question(clip=str(path))
    last = ask(pipeline, conversation, question)[-1]
    assert last.status.mood == "error"
    assert words in last.status.words
    assert list(last.messages) == before
    assert last.give_back == question
    assert len(pipeline.asked) == 1
    assert not conversation.is_answering


def test_too_long_audio_is_said_in_words(pipeline, conversation, tmp_path):
    with wave.open(str(tmp_path / "long.wav"), "wb") as file:
        file.setparams((1, 1, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000 * 1200))
    last = ask(pipeline, conversation, Question(clip=str(tmp_path / "long.wav")))[-1]
    assert last.status.mood == "error"
    assert "20:00" in last.status.words
    assert "10:00" in last.status.words


def test_failed_turn_keeps_history_and_gives_the_question_back(pipeline, conversation):
    ask(pipeline, conversation, Question(text="one"))
    last = ask(pipeline, conversation, Question(text="please fail"))[-1]
    assert last.status.mood == "error"
    assert last.status.words == "No answer: the model server does not answer"
    assert last.give_back == Question(text="please fail")
    assert len(last.messages) == 4
    assert last.messages[3]["content"][0] == "Half an"
    assert conversation.last_reply().status == "failed"
    assert ask(pipeline, conversation, Question(text="again"))[-1].status.mood == "done"


def test_a_bug_is_logged_and_not_shown(pipeline, conversation, caplog):
    last = ask(pipeline, conversation, Question(text="break"))[-1]
    assert last.status.words == f"No answer: {Phrases().bug}"
    assert "a bug" in caplog.text
    assert not conversation.is_answering


def test_one_turn_at_a_time(pipeline, conversation):
    conversation.begin_turn()
    views = ask(pipeline, conversation, Question(text="too early"))
    assert [view.status.words for view in views] == [Phrases().busy]
    assert pipeline.asked == []
    assert conversation.is_answering  # the first one is still under way


def test_stop_ends_the_turn_and_keeps_what_was_said(conversation):
    pipeline = FakePipeline(pace_s=0.01, n_chunks=500, chunk_s=0.02)

    async def scenario() -> View:
        turns = TurnHandler(pipeline).answer(
            conversation, Question(text="count"), OPTIONS, Phrases()
        )
        async for step in turns:
            last = step
            if step.sound is not None:
                conversation.stop()
        return last

    last = asyncio.run(scenario())
    assert pipeline.n_closed == 1
    assert last.status.words == Phrases().stopped
    assert last.messages[-1]["content"][-1] == "■ Stopped"
    assert 0 < len(read_audio(last.clip, RATE)) < 5 * RATE
    assert not conversation.is_answering


def test_closing_early_closes_the_pipeline(conversation):
    pipeline = FakePipeline(pace_s=0.01, n_chunks=500)

    async def scenario() -> None:
        turns = TurnHandler(pipeline).answer(
            conversation, Question(text="count"), OPTIONS, Phrases()
        )
        async for step in turns:
            if step.sound is not None:
                break
        await turns.aclose()

    asyncio.run(scenario())
    assert pipeline.n_closed == 1
    assert not conversation.is_answering
    assert conversation.bubbles(Phrases())[-1]["content"][-1] == "■ Stopped"


def test_a_tab_that_is_closed_ends_its_turn(conversation):
    pipeline = FakePipeline(pace_s=0.01, n_chunks=500)

    async def scenario() -> None:
        tab = BrowserTab()
        question = Question(text="count")
        turns = TurnHandler(pipeline).answer(conversation, question, OPTIONS, Phrases(), tab)
        async for step in turns:
            if step.sound is not None:
                forget(tab)

    asyncio.run(asyncio.wait_for(scenario(), 20))
    assert pipeline.n_closed == 1
    assert conversation.last_reply().status == "cut"


def test_a_call_under_way_is_not_disturbed(pipeline, conversation):
    conversation.session.begin_turn(lambda: None)
    (only,) = ask(pipeline, conversation, Question(text="too early"))
    assert only.status.words == Phrases().busy
    assert only.give_back == Question(text="too early")
    assert conversation.items == ()


def test_until_stopped_does_not_wait_for_an_event_that_never_comes():
    async def scenario() -> tuple[list[object], bool]:
        closed = False

        async def events():
            nonlocal closed
            try:
                yield TextDelta("one")
                await asyncio.sleep(3600)
            finally:
                closed = True

        stopped = asyncio.Event()
        seen: list[object] = []
        asyncio.get_running_loop().call_later(0.05, stopped.set)
        async for event in until_stopped(events(), stopped):
            seen.append(event)
        return seen, closed

    assert asyncio.run(asyncio.wait_for(scenario(), 5)) == ([TextDelta("one")], True)


def test_wav_bytes_keep_the_loudness():
    wav = wav_bytes(np.full(100, 0.125, np.float32), RATE)
    assert (samples(wav) == 4096).all()
