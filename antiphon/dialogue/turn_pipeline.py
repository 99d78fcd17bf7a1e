"""The path of one utterance: listen, prompt, generate, split, decode.

Knows protocols only, no model. `respond` yields events while it works; closing it early frees
everything.
"""

import asyncio
import contextlib
import math
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from antiphon.dialogue.collapse_guard import DEFAULT_COLLAPSE_S, CollapseGuard
from antiphon.dialogue.events import Event, TurnDone, TurnFailed, UserTokens
from antiphon.dialogue.interleave import InterleaveSplitter
from antiphon.dialogue.listening import Listener
from antiphon.dialogue.prompt import FittedPrompt, fit_prompt, prompt_beginning
from antiphon.dialogue.reply import Reply, ReplyParts
from antiphon.dialogue.session import Session, Turn, UserTurn
from antiphon.dialogue.sound import Sound
from antiphon.dialogue.stage_clock import StageClock
from antiphon.dialogue.text_stream import TextStream
from antiphon.engine.base import Engine, Interleave, SamplingParams, TokenChunk
from antiphon.errors import AntiphonError, ConfigError
from antiphon.models.base import DialogueTokenizer, SpeechDecoder, SpeechEncoder, TokenLayout


class PromptWarmUp(Protocol):
    """Prepares an engine for a prompt that will come."""

    def __call__(self, token_ids: Sequence[int], session_id: str) -> None:
        """Take what is known of a session's next prompt while the user still speaks.

        Called on the event loop each time more is known; has to return at once. The prompt will
        most likely begin with `token_ids`, but need not.
        """
        ...


@dataclass(frozen=True)
class TurnOptions:
    """How to answer one turn.

    Attributes:
        temperature: Softmax temperature; 0 means greedy.
        top_p: Nucleus mass in (0, 1].
        max_new_tokens: Most tokens of the reply, text and speech together; cut to what the context
            still holds.
        seed: Seed of the sampling; None draws one.
        voice: Voice of the decoder; None takes its own.
        speak: Whether to make sound at all.
        collapse_s: End a reply whose speech has only repeated itself for so many seconds
            (`collapse_guard.py`); None lets it go on.
        max_turns: Most turns of the conversation that the model reads, this one included; None for
            as many as it has learned to.
    """

    temperature: float = 0.2
    top_p: float = 0.8
    max_new_tokens: int = 2000
    seed: int | None = None
    voice: str | None = None
    speak: bool = True
    collapse_s: float | None = DEFAULT_COLLAPSE_S
    max_turns: int | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for a value no engine could use."""
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"temperature must be a number from 0 up, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must lie above 0 and not above 1, got {self.top_p}")
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if self.max_turns is not None and self.max_turns < 1:
            raise ConfigError(f"max_turns must be at least 1, got {self.max_turns}")
        self.make_guard()

    def make_guard(self) -> CollapseGuard | None:
        """Make the guard of one reply."""
        return None if self.collapse_s is None else CollapseGuard(self.collapse_s)


class TurnPipeline:
    """Answers spoken or typed turns with text and sound.

    One pipeline serves many sessions; the speech tokenizer has one thread, and so has a decoder
    whose streams are not shared.

    Args:
        engine: Token ids in, token ids out.
        text_tokenizer: Text to ids and back.
        speech_tokenizer: Sound to speech tokens.
        decoder: Speech tokens to sound.
        warm_up: Gets the beginning of a prompt while the user still speaks.
    """

    def __init__(
        self,
        engine: Engine,
        text_tokenizer: DialogueTokenizer,
        speech_tokenizer: SpeechEncoder,
        decoder: SpeechDecoder,
        warm_up: PromptWarmUp | None = None,
    ) -> None:
        self._engine = engine
        self._text_tokenizer = text_tokenizer
        self._decoder = decoder
        self._warm_up = warm_up
        self._listener = Listener(text_tokenizer, speech_tokenizer)
        self._decode_thread = ThreadPoolExecutor(1, thread_name_prefix="antiphon-decode")

    @property
    def sample_rate(self) -> int:
        """Rate of the sound in Hz."""
        return self._decoder.sample_rate

    @property
    def layout(self) -> TokenLayout:
        """Where the special ids of the vocabulary lie."""
        return self._text_tokenizer.layout

    def close(self) -> None:
        """End the worker threads; the engine and the models stay the caller's."""
        self._listener.close()
        self._decode_thread.shutdown(wait=True, cancel_futures=True)

    async def respond(
        self, session: Session, user_turn: UserTurn, options: TurnOptions | None = None
    ) -> AsyncGenerator[Event, None]:
        """Answer one turn.

        Yields:
            `UserTokens` (spoken turns only), `TextDelta` and `AudioChunk` as they are made, and
            last `TurnDone` or `TurnFailed`. The turn joins the history of `session` just before
            `TurnDone`, also when it was stopped by `session.cancel()`; when this generator is
            closed early, it joins with what was generated by then. Failed turns and turns stopped
            before the first token are not kept.
        """
        clock = StageClock()
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_cancel() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone, and the turn with it
                loop.call_soon_threadsafe(stopped.set)

        try:
            session.begin_turn(on_cancel)
        except AntiphonError as error:
            yield TurnFailed(str(error), error=error)
            return
        events = self._answer(session, user_turn, options or TurnOptions(), clock, stopped)
        try:
            async with contextlib.aclosing(events):
                async for event in events:
                    if isinstance(event, TurnDone):
                        session.end_turn(on_cancel)
                    yield event
        except AntiphonError as error:
            yield TurnFailed(str(error), clock.timings(), error)
        finally:
            session.end_turn(on_cancel)

    async def _answer(
        self,
        session: Session,
        user_turn: UserTurn,
        options: TurnOptions,
        clock: StageClock,
        stopped: asyncio.Event,
    ) -> AsyncGenerator[Event, None]:
        """Listen, build the prompt, reply, remember."""
        on_expected = partial(self._expect, session, options) if self._warm_up else None
        listening = asyncio.create_task(self._listener.listen(user_turn, clock, on_expected))
        if not await ends_before(stopped, listening):
            yield TurnDone("", 0.0, 0, 0, "cancelled", clock.timings())
            return
        turn = listening.result()
        if turn.kind == "speech":
            yield UserTokens(speech_tokens(turn, self._text_tokenizer.layout))
        prompt = self._fit(session, turn, options)
        reply = self._open_reply(session, prompt, options, clock)
        reply.start()
        watcher = asyncio.create_task(stop_when(stopped, reply))
        is_kept = False
        try:
            while (event := await reply.next_event()) is not None:
                if isinstance(event, TurnDone | TurnFailed):
                    is_kept = True
                    keep(session, turn, event)
                yield event
        finally:
            watcher.cancel()
            await asyncio.gather(reply.close(), watcher, return_exceptions=True)
            if not is_kept and reply.token_ids:
                session.append(replace(turn, reply_ids=tuple(reply.token_ids)))

    def _expect(self, session: Session, options: TurnOptions, codes: list[int]) -> None:
        """Tell what is known of the prompt while the user speaks."""
        assert self._warm_up is not None
        tokenizer, limit = self._text_tokenizer, options.max_new_tokens
        layout = seen_by(tokenizer.layout, options)
        token_ids = prompt_beginning(session.turns, codes, layout, tokenizer, limit)
        self._warm_up(token_ids, session.id)

    def _fit(self, session: Session, turn: Turn, options: TurnOptions) -> FittedPrompt:
        history = (*session.turns, turn)
        tokenizer = self._text_tokenizer
        layout = seen_by(tokenizer.layout, options)
        return fit_prompt(history, layout, tokenizer, options.max_new_tokens)

    def _open_reply(
        self, session: Session, prompt: FittedPrompt, options: TurnOptions, clock: StageClock
    ) -> Reply:
        layout = self._text_tokenizer.layout
        room = layout.context_length - len(prompt.token_ids)
        sampling = SamplingParams(
            temperature=options.temperature,
            top_p=options.top_p,
            seed=options.seed,
            max_new_tokens=min(options.max_new_tokens, room),
            stop_token_ids=layout.stop,
            interleave=blocks_of(layout),
        )

        def generate() -> AsyncIterator[TokenChunk]:
            return self._engine.generate(
                prompt.token_ids, sampling, request_id=uuid.uuid4().hex, session_id=session.id
            )

        open_stream = partial(self._decoder.open_stream, options.voice, options.seed or 0)
        parts = ReplyParts(
            generate=generate,
            sound=Sound(open_stream if options.speak else None, self._decode_thread),
            sample_rate=self._decoder.sample_rate,
            guard=options.make_guard(),
            n_dropped_turns=prompt.n_dropped_turns,
        )
        return Reply(parts, InterleaveSplitter(layout), TextStream(self._text_tokenizer), clock)


def seen_by(layout: TokenLayout, options: TurnOptions) -> TokenLayout:
    """Let the options say how many turns the model reads."""
    return layout if options.max_turns is None else replace(layout, max_turns=options.max_turns)


def blocks_of(layout: TokenLayout) -> Interleave | None:
    """Say to which blocks of text and sound replies are to keep, if to any."""
    if layout.interleave is None:
        return None
    return Interleave(*layout.interleave, audio_0=layout.audio_0, n_codes=layout.n_audio)


def speech_tokens(turn: Turn, layout: TokenLayout) -> tuple[int, ...]:
    """Give the speech tokens in a spoken turn, in [0, n_audio)."""
    last = layout.audio_0 + layout.n_audio
    return tuple(i - layout.audio_0 for i in turn.user_ids if layout.audio_0 <= i < last)


def keep(session: Session, turn: Turn, ending: TurnDone | TurnFailed) -> None:
    """Let an answered turn join the history; failed ones and those stopped before a word do not."""
    if isinstance(ending, TurnDone) and (ending.reply_ids or ending.stop_reason == "stop"):
        session.append(replace(turn, reply_ids=ending.reply_ids))


async def ends_before(stopped: asyncio.Event, task: asyncio.Task[Turn]) -> bool:
    """Wait for a task; when the user stops first, cancel it and return False."""
    stopping = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return task.done()
    finally:
        for unfinished in (task, stopping):
            unfinished.cancel()
        await asyncio.gather(task, stopping, return_exceptions=True)


async def stop_when(stopped: asyncio.Event, reply: Reply) -> None:
    """Stop the reply when the user says so."""
    await stopped.wait()
    reply.stop()
