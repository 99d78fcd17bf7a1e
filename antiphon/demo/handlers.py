"""From a question on the page to views of its answer: pipeline events in, what to show out.

Knows the pipeline only by its `respond` and nothing of the page's layout.
"""

import asyncio
import io
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import soundfile

from antiphon.audio import Waveform, float_to_pcm16, read_audio
from antiphon.demo.conversation import BrowserTab, Conversation, Exchange, Message
from antiphon.demo.labels import Phrases
from antiphon.demo.live_reply import LiveReply, TokenView
from antiphon.dialogue.events import Event, TextDelta
from antiphon.dialogue.responder import Responder
from antiphon.dialogue.session import UserTurn
from antiphon.dialogue.turn_pipeline import TurnOptions
from antiphon.errors import AntiphonError

CLIP_RATE = 16_000  # Hz; what the speech tokenizer hears is what the question's bubble replays
Mood = Literal["idle", "busy", "done", "error"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """What a person asks: typed text or the path of a clip, just as the page gave it."""

    text: str | None = None
    clip: str | None = None


@dataclass(frozen=True)
class Status:
    """The line under the conversation."""

    mood: Mood
    words: str


@dataclass(frozen=True)
class View:
    """What the page shows after one step.

    Attributes:
        messages: All bubbles.
        status: The status line.
        tokens: Tokens of this turn so far; None leaves the token view as it is.
        sound: The next piece of sound as a complete wav file; None leaves the player as it is.
        clip: The whole reply as a file, once, when it is complete.
        give_back: A question that was not answered and goes back to where it was entered.
    """

    messages: tuple[Message, ...]
    status: Status
    tokens: TokenView | None = None
    sound: bytes | None = None
    clip: str | None = None
    give_back: Question | None = None


class TurnHandler:
    """Answers the questions of all tabs through one pipeline."""

    def __init__(self, pipeline: Responder) -> None:
        self._pipeline = pipeline

    async def answer(
        self,
        conversation: Conversation,
        question: Question,
        options: TurnOptions,
        phrases: Phrases,
        tab: BrowserTab | None = None,
    ) -> AsyncGenerator[View, None]:
        """Ask one question and yield what to show while it is answered.

        Errors of the user and of the environment become a status in words; the history stays.
        The browser tab that asks, if any, ends the turn when it is closed.
        """
        if conversation.is_answering:
            yield view(conversation, phrases, "error", phrases.busy, give_back=question)
            return
        exchange = conversation.begin_turn()
        if tab is not None:
            tab.exchange = exchange
        turns = self._turn(conversation, question, options, phrases, exchange)
        try:
            async with aclosing(turns):
                async for step in turns:
                    yield step
        except AntiphonError as error:
            yield view(conversation, phrases, "error", str(error), give_back=question)
        except Exception:
            _log.exception("a turn of the demo failed")
            yield view(conversation, phrases, "error", phrases.bug, give_back=question)
        finally:
            conversation.end_turn()

    async def _turn(
        self,
        conversation: Conversation,
        question: Question,
        options: TurnOptions,
        phrases: Phrases,
        exchange: Exchange,
    ) -> AsyncGenerator[View, None]:
        """Show the question, then its answer as it comes."""
        if question.clip is not None:
            yield view(conversation, phrases, "busy", phrases.listening)
        user_turn = await self._hear(conversation, question)
        reply = LiveReply(conversation, exchange, options)
        try:
            yield view(conversation, phrases, "busy", phrases.thinking, tokens=reply.tokens)
            events = self._pipeline.respond(conversation.session, user_turn, options)
            async with aclosing(until_stopped(events, exchange.stopped)) as live_events:
                async for event in live_events:
                    sound = reply.take(event)
                    if sound is not None or isinstance(event, TextDelta):
                        yield self._progress(conversation, reply, sound, phrases)
        except Exception as error:
            reply.failure = str(error) if isinstance(error, AntiphonError) else phrases.bug
            if not isinstance(error, AntiphonError):
                _log.exception("the pipeline failed")
        finally:
            clip = reply.close()
        yield self._ending(conversation, reply, question, clip, phrases)

    async def _hear(self, conversation: Conversation, question: Question) -> UserTurn:
        """Read the question and add it to the conversation; raises AudioError before that."""
        if question.clip is None:
            text = question.text or ""
            conversation.add_text(text)
            return UserTurn(text=text)
        waveform = await asyncio.to_thread(read_audio, Path(question.clip), CLIP_RATE)
        conversation.add_speech(waveform, CLIP_RATE)
        return UserTurn(waveform=waveform, sample_rate=CLIP_RATE)

    def _progress(
        self,
        conversation: Conversation,
        reply: LiveReply,
        sound: Waveform | None,
        phrases: Phrases,
    ) -> View:
        words = phrases.speaking if reply.has_sound else phrases.thinking
        wav = None if sound is None else wav_bytes(sound, reply.sample_rate)
        return view(conversation, phrases, "busy", words, tokens=reply.tokens, sound=wav)

    def _ending(
        self,
        conversation: Conversation,
        reply: LiveReply,
        question: Question,
        clip: str | None,
        phrases: Phrases,
    ) -> View:
        mood: Mood = "done" if reply.failure is None else "error"
        words = reply.summary(phrases)
        if reply.failure is not None:
            words = f"{phrases.failed}: {reply.failure}"
        back = question if reply.failure is not None else None
        return view(
            conversation, phrases, mood, words, tokens=reply.tokens, clip=clip, give_back=back
        )


async def until_stopped(
    events: AsyncGenerator[Event, None], stopped: asyncio.Event
) -> AsyncGenerator[Event, None]:
    """Pass `events` on until they end or `stopped` is set; closes them in any case."""
    stopping = asyncio.ensure_future(stopped.wait())
    step: asyncio.Future[Event | None] | None = None
    try:
        while True:
            step = asyncio.ensure_future(next_event(events))
            await asyncio.wait({step, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.is_set():
                return
            event = step.result()
            if event is None:
                return
            yield event
    finally:
        waiting = [future for future in (stopping, step) if future is not None]
        for future in waiting:
            future.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await events.aclose()


async def next_event(events: AsyncGenerator[Event, None]) -> Event | None:
    """Wait for the next event; None after the last."""
    return await anext(events, None)


def view(
    conversation: Conversation,
    phrases: Phrases,
    mood: Mood,
    words: str,
    *,
    tokens: TokenView | None = None,
    sound: bytes | None = None,
    clip: str | None = None,
    give_back: Question | None = None,
) -> View:
    """Take a picture of the conversation with a status line under it."""
    status = Status(mood, words)
    return View(tuple(conversation.bubbles(phrases)), status, tokens, sound, clip, give_back)


def wav_bytes(waveform: Waveform, sample_rate: int) -> bytes:
    """Pack (n_samples,) float samples into a wav file.

    It is 16-bit PCM, because Gradio would scale each chunk of floats to its own peak.
    """
    file = io.BytesIO()
    soundfile.write(file, float_to_pcm16(waveform), sample_rate, "PCM_16", format="WAV")
    return file.getvalue()
