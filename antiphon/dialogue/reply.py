"""One reply under way: tokens arrive in a task while blocks of sound are decoded elsewhere.

Owns everything that must be freed: the engine's request and the decoder's stream.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from antiphon.dialogue.collapse_guard import CollapseGuard
from antiphon.dialogue.events import AudioChunk, Event, StopReason, TextDelta, TurnDone, TurnFailed
from antiphon.dialogue.interleave import AudioToken, InterleaveSplitter, TextToken
from antiphon.dialogue.sound import Sound
from antiphon.dialogue.stage_clock import StageClock
from antiphon.dialogue.text_stream import TextStream
from antiphon.engine.base import TokenChunk
from antiphon.errors import AntiphonError
from antiphon.models.base import Waveform

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReplyParts:
    """What a reply is made with.

    Attributes:
        generate: Starts the engine's request.
        sound: The decoder's side.
        sample_rate: Rate of the sound in Hz.
        guard: Ends a reply whose speech has collapsed; None lets it go on.
        n_dropped_turns: Turns forgotten to make the prompt fit.
    """

    generate: Callable[[], AsyncIterator[TokenChunk]]
    sound: Sound
    sample_rate: int
    guard: CollapseGuard | None = None
    n_dropped_turns: int = 0


@dataclass
class Spoken:
    """How far the sound of a reply is."""

    n_samples: int = 0
    waiting_codes: list[int] = field(default_factory=list)


class Reply:
    """Answers one prompt with events; start it, take its events, close it."""

    def __init__(
        self, parts: ReplyParts, splitter: InterleaveSplitter, text: TextStream, clock: StageClock
    ) -> None:
        self.token_ids: list[int] = []
        self._parts = parts
        self._splitter = splitter
        self._text = text
        self._clock = clock
        self._spoken = Spoken()
        self._codes: asyncio.Queue[int | None] = asyncio.Queue()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._stop_reason: StopReason = "length"
        self._generating: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to generate and to decode."""
        self._generating = asyncio.create_task(self._generate())
        self._generating.add_done_callback(lambda _: self._codes.put_nowait(None))
        self._running = asyncio.create_task(self._run(self._generating))
        self._running.add_done_callback(lambda _: self._events.put_nowait(None))

    def stop(self) -> None:
        """End the generation; what was generated is still spoken and `TurnDone` follows."""
        if self._generating is not None and not self._generating.done():
            self._stop_reason = "cancelled"
            self._generating.cancel()

    async def next_event(self) -> Event | None:
        """Wait for the next event; None after the last one. A bug's exception is raised here."""
        event = await self._events.get()
        if event is None and self._running is not None:
            self._running.result()
        return event

    async def close(self) -> None:
        """Free everything; returns when nothing of this reply runs any more.

        A block of a shared decoder's batch under way is still decoded, and dropped.
        """
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self, generating: asyncio.Task[None]) -> None:
        """Speak until the tokens end, free the parts, then say how it ended."""
        try:
            await self._speak()
            await asyncio.wait({generating})
            last = self._ending(generating)
        except AntiphonError as error:
            last = TurnFailed(str(error), self._clock.timings(), error)
        finally:
            generating.cancel()
            await asyncio.gather(generating, return_exceptions=True)
            await self._parts.sound.close()
        self._events.put_nowait(last)

    async def _generate(self) -> None:
        """Take the engine's tokens until it ends or an end id comes."""
        self._clock.mark_generate()
        chunks = self._parts.generate()
        try:
            async for chunk in chunks:
                self._clock.mark_first_token()
                ending = self._take(chunk.token_ids)
                self._stop_reason = ending or chunk.finish_reason or self._stop_reason
                if ending is not None:
                    break
        finally:
            aclose = getattr(chunks, "aclose", None)
            if aclose is not None:
                await aclose()
            self._emit_text(self._text.flush())

    def _take(self, token_ids: Sequence[int]) -> StopReason | None:
        """Sort new ids: text is said at once, speech tokens go to the decoder.

        Returns:
            Why the reply ends here, if it does.
        """
        for token_id in token_ids:
            token = self._splitter.feed(token_id)
            if isinstance(token, TextToken):
                self.token_ids.append(token_id)
                self._emit_text(self._text.push(token_id))
            elif isinstance(token, AudioToken):
                self.token_ids.append(token_id)
                self._codes.put_nowait(token.code)
                if self._parts.guard is not None and self._parts.guard.feed(token.code):
                    n_audio = self._splitter.n_audio
                    logger.warning("ended a reply after %d speech tokens: it repeats them", n_audio)
                    return "collapsed"
        return "stop" if self._splitter.has_ended else None

    async def _speak(self) -> None:
        """Decode speech tokens as they come, then everything that is still held back."""
        sound = self._parts.sound
        await sound.open()
        while codes := await self._next_codes():
            self._spoken.waiting_codes += codes
            async for samples in sound.push(codes):
                self._emit_sound(to_waveform(samples))
        if self._splitter.n_audio:
            async for samples in sound.flush():
                self._emit_sound(to_waveform(samples))

    async def _next_codes(self) -> list[int]:
        """Wait for speech tokens; take all that are there. Empty at the end."""
        codes: list[int] = []
        code = await self._codes.get()
        while code is not None:
            codes.append(code)
            if self._codes.empty():
                return codes
            code = self._codes.get_nowait()
        if codes:
            self._codes.put_nowait(None)  # the end is seen again by the next call
        return codes

    def _emit_text(self, delta: TextDelta | None) -> None:
        if delta is not None:
            self._clock.mark_text()
            self._events.put_nowait(delta)

    def _emit_sound(self, waveform: Waveform) -> None:
        if not len(waveform):
            return
        self._clock.mark_audio()
        self._spoken.n_samples += len(waveform)
        codes, self._spoken.waiting_codes = tuple(self._spoken.waiting_codes), []
        self._events.put_nowait(AudioChunk(waveform, self._parts.sample_rate, codes))

    def _ending(self, generating: asyncio.Task[None]) -> Event:
        """Build the last event; raises what the generation raised."""
        if not generating.cancelled():
            generating.result()
        self._clock.mark_end()
        timings = self._clock.timings()
        audio_s = self._spoken.n_samples / self._parts.sample_rate
        return TurnDone(
            text=self._text.text,
            audio_s=audio_s,
            n_text_tokens=self._splitter.n_text,
            n_audio_tokens=self._splitter.n_audio,
            stop_reason=self._stop_reason,
            timings=timings,
            rtf=timings.total_s / audio_s if audio_s else None,
            reply_ids=tuple(self.token_ids),
            n_dropped_turns=self._parts.n_dropped_turns,
        )


def to_waveform(samples: Tensor) -> Waveform:
    """Turn (n_samples,) of any device and float type into a float32 array."""
    return np.asarray(samples.detach().float().cpu().numpy(), dtype=np.float32)
