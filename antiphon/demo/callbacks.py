"""What happens when a button is pressed: component values in, component updates out."""

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from antiphon.demo.conversation import Conversation
from antiphon.demo.handlers import Question, Status, TurnHandler, View, view
from antiphon.demo.labels import Phrases, phrases_for
from antiphon.demo.live_reply import TokenView
from antiphon.demo.style import status_html, timings_html
from antiphon.dialogue.turn_pipeline import TurnOptions
from antiphon.errors import AntiphonError, ConfigError

SETTLE_TIMEOUT_S = 10.0
MAX_SEED = 2**31 - 1
RANDOM_SEED = -1  # on the page: draw one

Updates = dict[Block, object]
Check = Callable[[], Awaitable[None]]
"""Raises an AntiphonError that says why no question can be answered now."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Parts:
    """The components that handlers read or change."""

    conversation: gr.State
    chat: gr.Chatbot
    status: gr.HTML
    text: gr.Textbox
    mic: gr.Audio
    send: gr.Button
    stop: gr.Button
    clear: gr.Button
    player: gr.Audio
    settings: tuple[gr.Slider, gr.Slider, gr.Slider, gr.Number]
    token_boxes: tuple[gr.Textbox, gr.Textbox, gr.Textbox]
    timings: gr.HTML

    @property
    def shown(self) -> list[Block]:
        """All that a turn changes."""
        changed = [self.chat, self.status, self.text, self.mic, self.player, self.timings]
        return [self.conversation, *changed, *self.token_boxes]


class Callbacks:
    """The page's callbacks; all state is in the tab's `Conversation`."""

    def __init__(
        self, turns: TurnHandler, parts: Parts, *, streams: bool, check: Check | None = None
    ) -> None:
        self._turns = turns
        self._parts = parts
        self._streams = streams
        self._check = check

    async def on_load(self, request: gr.Request) -> str:
        """Say in a freshly opened page whether questions can be answered."""
        phrases = phrases_of(request)
        try:
            if self._check is not None:
                await self._check()
        except AntiphonError as error:
            return status_html(Status("error", str(error)))
        return status_html(Status("idle", phrases.ready))

    async def on_text(
        self,
        conversation: Conversation,
        text: str,
        temperature: float,
        top_p: float,
        max_tokens: float,
        seed: float | None,
        request: gr.Request,
    ) -> AsyncGenerator[Updates, None]:
        """Answer a typed question."""
        question = Question(text=text) if text and text.strip() else None
        settings = (temperature, top_p, max_tokens, seed)
        async for updates in self._ask(conversation, question, settings, request):
            yield updates

    async def on_clip(
        self,
        conversation: Conversation,
        clip: str | None,
        temperature: float,
        top_p: float,
        max_tokens: float,
        seed: float | None,
        request: gr.Request,
    ) -> AsyncGenerator[Updates, None]:
        """Answer a recorded or uploaded question."""
        question = Question(clip=clip) if clip else None
        settings = (temperature, top_p, max_tokens, seed)
        async for updates in self._ask(conversation, question, settings, request):
            yield updates

    async def _ask(
        self,
        conversation: Conversation,
        question: Question | None,
        settings: tuple[float, float, float, float | None],
        request: gr.Request,
    ) -> AsyncGenerator[Updates, None]:
        phrases = phrases_of(request)
        if question is None:
            yield self._show(view(conversation, "error", phrases.nothing))
            return
        try:
            options = read_options(*settings)
        except ConfigError as error:
            yield self._show(view(conversation, "error", str(error)))
            return
        start: Updates = {self._parts.conversation: conversation}
        start[self._parts.text if question.text is not None else self._parts.mic] = None
        async for step in self._turns.answer(conversation, question, options, phrases):
            yield {**start, **self._show(step)}
            start = {}

    def _show(self, step: View) -> Updates:
        """Turn a view into updates of the components it changes."""
        parts = self._parts
        updates: Updates = {
            parts.chat: list(step.messages),
            parts.status: status_html(step.status),
        }
        if step.tokens is not None:
            updates.update(self._show_tokens(step.tokens))
        if self._streams and step.sound is not None:
            updates[parts.player] = step.sound
        elif not self._streams and step.clip is not None:
            updates[parts.player] = step.clip
        if step.give_back is not None:
            updates.update(self._give_back(step.give_back))
        return updates

    def _show_tokens(self, tokens: TokenView) -> Updates:
        groups = (tokens.user, tokens.text, tokens.audio)
        updates: Updates = {
            box: " ".join(map(str, ids))
            for box, ids in zip(self._parts.token_boxes, groups, strict=True)
        }
        updates[self._parts.timings] = timings_html(tokens)
        return updates

    def _give_back(self, question: Question) -> Updates:
        if question.text is not None:
            return {self._parts.text: question.text}
        return {self._parts.mic: question.clip}

    async def on_stop(self, conversation: Conversation) -> None:
        """Silence the player at once and ask the turn to end."""
        conversation.stop()

    async def on_stopped(self, conversation: Conversation, request: gr.Request) -> Updates:
        """Show what was said until the stop."""
        phrases = phrases_of(request)
        await settle(conversation)
        return {**self._show(view(conversation, "idle", phrases.stopped)), self._parts.player: None}

    async def on_clear(self, conversation: Conversation, request: gr.Request) -> Updates:
        """Empty the page and the dialogue."""
        phrases = phrases_of(request)
        await settle(conversation)
        conversation.clear()
        updates = self._show(view(conversation, "idle", phrases.cleared, tokens=TokenView()))
        parts = self._parts
        return {**updates, parts.player: None, parts.mic: None, parts.text: None}


async def settle(conversation: Conversation) -> None:
    """Wait for the turn under way to end; a turn that hangs is logged and left behind."""
    conversation.stop()
    try:
        await conversation.settle(SETTLE_TIMEOUT_S)
    except TimeoutError:
        _log.warning("a turn did not end within %.0f s after it was stopped", SETTLE_TIMEOUT_S)


def phrases_of(request: gr.Request | None) -> Phrases:
    """Choose the phrases for whoever sent a request."""
    headers = request.headers if request is not None else {}
    return phrases_for(headers.get("accept-language"))


def read_options(
    temperature: float, top_p: float, max_tokens: float, seed: float | None
) -> TurnOptions:
    """Turn the settings of the page into options.

    Raises:
        ConfigError: If a value cannot be used.
    """
    values = {"temperature": temperature, "top-p": top_p, "the most new tokens": max_tokens}
    for name, value in values.items():
        if value is None or not math.isfinite(value):
            raise ConfigError(f"{name} must be a number, got {value}")
    if seed is not None and not (math.isfinite(seed) and RANDOM_SEED <= seed <= MAX_SEED):
        raise ConfigError(f"the seed must lie between 0 and {MAX_SEED} (-1: any), got {seed}")
    return TurnOptions(
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=int(max_tokens),
        seed=None if seed is None or seed == RANDOM_SEED else int(seed),
    )
