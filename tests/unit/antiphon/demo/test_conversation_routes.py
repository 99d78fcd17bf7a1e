"""Downloads: what is there comes whole, what is not is a 404 in words, ids are checked."""

import io
import json
import zipfile

import numpy as np
import pytest
import soundfile
from fastapi import FastAPI
from fastapi.testclient import TestClient

from antiphon.demo.conversation import Conversation, Conversations
from antiphon.demo.conversation_routes import conversation_router
from antiphon.realtime.conversation_store import ConversationStore

RATE = 22_050


@pytest.fixture
def store(tmp_path) -> ConversationStore:
    return ConversationStore(tmp_path)


@pytest.fixture
def conversation(store) -> Conversation:
    conversation = Conversations(store).open(None)
    conversation.add_text("你好")
    tone = 0.3 * np.sin(np.arange(RATE) / 8).astype(np.float32)
    conversation.add_reply("a tone", tone, RATE, "completed", {"rtf": 0.5})
    return conversation


@pytest.fixture
def client(store) -> TestClient:
    app = FastAPI()
    app.include_router(conversation_router(store))
    return TestClient(app)


def test_a_turn_is_a_clip_and_its_description(client, conversation):
    item = conversation.last_reply()
    base = f"/conversation/{conversation.id}/item/{item.id}"
    clip = client.get(f"{base}.wav")
    assert clip.headers["content-type"] == "audio/wav"
    assert "no-store" in clip.headers["cache-control"]
    waveform, rate = soundfile.read(io.BytesIO(clip.content))
    assert (rate, len(waveform)) == (RATE, RATE)
    described = client.get(f"{base}.json").json()
    assert (described["text"], described["audio_ms"]) == ("a tone", 1000)
    assert described["details"] == {"rtf": 0.5}


def test_the_whole_conversation_is_an_archive_that_names_its_clips(client, conversation):
    answer = client.get(f"/conversation/{conversation.id}.zip")
    assert "attachment" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        described = json.loads(archive.read("conversation.json"))
        assert [item["clip"] for item in described["items"]] == [None, "002-assistant.wav"]
        assert described["items"][0]["text"] == "你好"
        waveform, _ = soundfile.read(io.BytesIO(archive.read("002-assistant.wav")))
    assert len(waveform) == RATE
    listed = client.get(f"/conversation/{conversation.id}.json").json()
    assert [item["id"] for item in listed["items"]] == [each.id for each in conversation.items]


def test_the_picture_is_drawn_for_light_and_dark(client, conversation):
    base = f"/conversation/{conversation.id}/item/{conversation.last_reply().id}.png"
    light, dark = client.get(base), client.get(f"{base}?theme=dark")
    assert light.content.startswith(b"\x89PNG")
    assert light.content != dark.content
    assert client.get(f"{base}?theme=pink").status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "0" * 32 + ".json",
        "0" * 32 + ".zip",
        "{id}/item/item_unknown.wav",
        "{id}/item/{typed}.wav",
        "{id}/item/{typed}.png",
    ],
)
def test_what_is_not_there_is_said(client, conversation, path):
    typed = conversation.items[0].id
    answer = client.get("/conversation/" + path.format(id=conversation.id, typed=typed))
    assert answer.status_code == 404
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2fetc%2fpasswd.json",
        "{upper}.json",
        "{id}/item/..%2f..%2fsecret.wav",
        "{id}/item/item_a%2e%2e%2fb.wav",
        "{id}/item/item_" + "a" * 99 + ".wav",
    ],
)
def test_what_is_no_id_is_refused(client, conversation, path):
    named = path.format(id=conversation.id, upper=conversation.id.upper())
    assert client.get("/conversation/" + named).status_code in {404, 422}


def test_a_clip_that_was_swept_away_is_said(client, conversation):
    item = conversation.last_reply()
    item.clip.unlink()
    base = f"/conversation/{conversation.id}"
    assert client.get(f"{base}/item/{item.id}.wav").status_code == 404
    with zipfile.ZipFile(io.BytesIO(client.get(f"{base}.zip").content)) as archive:
        assert archive.namelist() == ["conversation.json"]
