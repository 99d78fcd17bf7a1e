"""Downloads: a clip, an item, its picture, a whole conversation; by ids, never by paths.

Who knows a conversation's id may read it; ids are 128 random bits and stay in one browser.
"""

import asyncio
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse, JSONResponse

from antiphon.api.realtime_messages import Message
from antiphon.audio import read_audio
from antiphon.demo.sound_picture import PICTURE_RATE, draw
from antiphon.realtime.conversation_store import (
    ConversationItem,
    ConversationStore,
    StoredConversation,
)

ConversationId = Annotated[str, InPath(pattern=r"^[0-9a-f]{32}$")]
ItemId = Annotated[str, InPath(pattern=r"^item_[0-9A-Za-z_-]{1,64}$")]
PRIVATE = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}


def conversation_router(store: ConversationStore) -> APIRouter:
    """Make the routes below `/conversation`."""
    router = APIRouter(prefix="/conversation")

    @router.get("/{conversation_id}.json")
    async def read_conversation(conversation_id: ConversationId) -> JSONResponse:
        return JSONResponse(describe(find(store, conversation_id)), headers=PRIVATE)

    @router.get("/{conversation_id}.zip")
    async def read_archive(conversation_id: ConversationId) -> Response:
        archive = await asyncio.to_thread(pack, find(store, conversation_id))
        name = f"conversation-{conversation_id[:8]}.zip"
        return Response(archive, media_type="application/zip", headers=attachment(name))

    @router.get("/{conversation_id}/item/{item_id}.wav")
    async def read_clip(conversation_id: ConversationId, item_id: ItemId) -> FileResponse:
        item = find_item(find(store, conversation_id), item_id)
        return FileResponse(clip_of(item), media_type="audio/wav", headers=PRIVATE)

    @router.get("/{conversation_id}/item/{item_id}.json")
    async def read_item(conversation_id: ConversationId, item_id: ItemId) -> JSONResponse:
        item = find_item(find(store, conversation_id), item_id)
        return JSONResponse(item.to_json(), headers=PRIVATE)

    @router.get("/{conversation_id}/item/{item_id}.png")
    async def read_picture(
        conversation_id: ConversationId, item_id: ItemId, theme: Literal["light", "dark"] = "light"
    ) -> Response:
        clip = clip_of(find_item(find(store, conversation_id), item_id))
        waveform = await asyncio.to_thread(read_audio, clip, PICTURE_RATE)
        picture = await asyncio.to_thread(draw, waveform, is_dark=theme == "dark")
        return Response(picture, media_type="image/png", headers=PRIVATE)

    return router


def find(store: ConversationStore, conversation_id: str) -> StoredConversation:
    """Give a conversation; an unknown one is a 404 in words."""
    conversation = store.get(conversation_id)
    if conversation is None:
        raise HTTPException(404, "this conversation is not known here; it may be too old")
    return conversation


def find_item(conversation: StoredConversation, item_id: str) -> ConversationItem:
    """Give an item; an unknown one is a 404 in words."""
    item = conversation.find(item_id)
    if item is None:
        raise HTTPException(404, "this conversation has no such item")
    return item


def clip_of(item: ConversationItem) -> Path:
    """Give the clip of an item; one without is a 404 in words."""
    if item.clip is None or not item.clip.is_file():
        raise HTTPException(404, "nothing was spoken here")
    return item.clip


def attachment(name: str) -> Mapping[str, str]:
    """Headers that let a browser keep the answer as a file."""
    return {**PRIVATE, "Content-Disposition": f'attachment; filename="{name}"'}


def describe(conversation: StoredConversation) -> Message:
    """Write a conversation as JSON."""
    return {"id": conversation.id, "items": [item.to_json() for item in conversation.items]}


def pack(conversation: StoredConversation) -> bytes:
    """Pack a conversation into a zip archive: its clips, and conversation.json that names them."""
    file, described = io.BytesIO(), []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, item in enumerate(list(conversation.items), start=1):
            name = None
            if item.clip is not None and item.clip.is_file():
                name = f"{number:03d}-{item.role}.wav"
                archive.write(item.clip, name)
            described.append({**item.to_json(), "clip": name})
        whole = {"id": conversation.id, "items": described}
        text = json.dumps(whole, indent=2, ensure_ascii=False)
        archive.writestr("conversation.json", text + "\n")
    return file.getvalue()
