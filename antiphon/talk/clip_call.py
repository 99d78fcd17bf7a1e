"""A call with clips in place of a microphone: each is sent as speech, and its answer awaited.

Knows nothing of files or printing.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from antiphon.audio import Waveform
from antiphon.talk.call import Call
from antiphon.talk.call_state import EMPTY, LOST, UNHEARD, Reply

CHUNK_S = 0.02
SILENCE_PATIENCE_S = 5.0
"""How long silence follows a clip before the server is thought not to have heard anything."""


@dataclass(frozen=True)
class ClipTurn:
    """The answer to one clip.

    Attributes:
        reply: What came.
        heard_s: From the end of the clip to the first sound that was played; None without sound or
            when nothing plays at the pace of speech.
        total_s: From the end of the clip to the end of the reply's text and sound coming in.
    """

    reply: Reply
    heard_s: float | None
    total_s: float


class ClipCall:
    """Asks clips in a call, one after the other."""

    def __init__(self, call: Call, clip_rate: int, is_paced: bool) -> None:
        """Use `call`, which takes sound at `clip_rate` Hz; `is_paced`: at the pace of speech."""
        self._call = call
        self._clip_rate = clip_rate
        self._is_paced = is_paced

    async def ask(self, clip: Waveform) -> ClipTurn:
        """Send (n_samples,) float32 and wait for the answer, and for its end if sound is paced.

        Raises:
            ServerConnectionError: If there is no connection for a minute, or no word for two.
        """
        call = self._call
        call.forget_replies()
        await call.wait_connected()
        is_whole = await self._send(clip)
        end = time.monotonic()
        if not is_whole:
            return ClipTurn(Reply(status=LOST, error="the connection was lost"), None, 0.0)
        if call.settings.is_hands_free:
            reply = await self._wait_hands_free()
        else:
            await call.commit()
            reply = await call.wait_reply()
        total_s = time.monotonic() - end
        await call.wait_played()
        return ClipTurn(reply, self._heard_s(reply, end), total_s)

    def _heard_s(self, reply: Reply, end: float) -> float | None:
        playback = self._call.playback.status()
        is_this = playback.item_id == reply.item_id and playback.started_at is not None
        if not is_this or not self._is_paced:
            return None
        return playback.started_at - end if playback.started_at is not None else None

    async def _send(self, clip: Waveform) -> bool:
        """Send a clip; False if the connection broke meanwhile."""
        start, n_sent = time.monotonic(), 0
        for chunk in self._chunks(clip):
            if not await self._call.send_sound(chunk):
                return False
            n_sent += len(chunk)
            ahead_s = n_sent / self._clip_rate - (time.monotonic() - start)
            await asyncio.sleep(max(ahead_s, 0) if self._is_paced else 0)
        return True

    def _chunks(self, clip: Waveform) -> Iterator[Waveform]:
        size = max(1, round(self._clip_rate * CHUNK_S))
        return (clip[at : at + size] for at in range(0, len(clip), size))

    async def _wait_hands_free(self) -> Reply:
        """Send silence, as a microphone would, until the answer has ended."""
        waiting = asyncio.ensure_future(self._call.wait_reply())
        silence = np.zeros(max(1, round(self._clip_rate * CHUNK_S)), np.float32)
        patience_end = time.monotonic() + SILENCE_PATIENCE_S
        try:
            while not waiting.done():
                await self._call.send_sound(silence)
                await asyncio.wait([waiting], timeout=CHUNK_S)
                is_late = time.monotonic() > patience_end
                if is_late and not self._call.is_answering and not waiting.done():
                    return Reply(status=EMPTY, error=UNHEARD)
            return waiting.result()
        finally:
            waiting.cancel()
