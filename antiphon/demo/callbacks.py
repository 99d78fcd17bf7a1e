"""What happens when a button is pressed: component values in, component updates out."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

import gradio as gr
from gradio.blocks import Block

from antiphon.demo.conversation import BrowserTab, Conversation, Conversations
from antiphon.demo.curl_command import curl_command
from antiphon.demo.handlers import Question, Status, TurnHandler, View, view
from antiphon.demo.labels import Phrases, phrases_for
from antiphon.demo.layout import DeveloperParts, Header, TurnParts
from antiphon.demo.live_reply import TokenView
from antiphon.demo.reply_settings import read_options
from antiphon.demo.style import downloads_html, picture_html, status_html, timings_html
from antiphon.errors import AntiphonError

SETTLE_TIMEOUT_S = 10.0
LANGUAGE_COOKIE = "antiphon_language"

Updates = dict[Block, object]
Check = Callable[[], Awaitable[None]]
"""Raises an AntiphonError that says why no question can be answered now."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Parts:
    """The components that callbacks change."""

    header: Header
    turns: TurnParts
    developer: DeveloperParts

    @property
    def shown(self) -> list[Block]:
        """All that a turn changes."""
        turns, inside = self.turns, self.developer
        changed = [turns.chat, turns.status, turns.text, turns.mic, turns.player, turns.downloads]
        tokens = [inside.user_tokens, inside.text_tokens, inside.audio_tokens]
        return [*changed, *tokens, inside.timings, inside.picture, inside.curl, *self.health]

    @property
    def health(self) -> list[Block]:
        """What says that the model server is down."""
        return [self.header.health, self.header.health_words, self.header.health_timer]


class Callbacks:
    """The page's callbacks; what was said is in the conversations, nothing is kept here.

    Each takes the id of the browser's conversation first.
    """

    def __init__(
        self,
        turns: TurnHandler,
        conversations: Conversations,
        parts: Parts,
        *,
        streams: bool,
        check: Check | None = None,
    ) -> None:
        self._turns = turns
        self._conversations = conversations
        self._parts = parts
        self._streams = streams
        self._check = check

    async def on_load(self, conversation_id: str, request: gr.Request) -> Updates:
        """Show a freshly opened page its conversation, and whether questions can be answered."""
        conversation = self._conversations.open(conversation_id)
        phrases = phrases_of(request)
        failure = await self._failure()
        status = Status("idle", phrases.ready) if failure is None else Status("error", failure)
        return {
            **self._whole(conversation, request),
            self._parts.turns.status: status_html(status),
            **self._health(failure),
        }

    async def on_check(self, request: gr.Request) -> Updates:
        """Look again whether the model server answers."""
        failure = await self._failure()
        if failure is not None:
            return self._health(failure)
        ready = Status("idle", phrases_of(request).ready)
        return {**self._health(None), self._parts.turns.status: status_html(ready)}

    async def on_changed(self, conversation_id: str, request: gr.Request) -> Updates:
        """Show what was said elsewhere: in the live call or in another tab."""
        conversation = self._conversations.open(conversation_id)
        updates = self._whole(conversation, request)
        if conversation.exchange is not None:  # the player belongs to the turn under way
            updates.pop(self._parts.turns.player, None)
        return updates

    async def on_text(
        self,
        conversation_id: str,
        tab: BrowserTab,
        text: str,
        temperature: float,
        top_p: float,
        max_tokens: float,
        seed: float | None,
        voice: str | None,
        request: gr.Request,
    ) -> AsyncGenerator[Updates, None]:
        """Answer a typed question."""
        question = Question(text=text) if text and text.strip() else None
        settings = (temperature, top_p, max_tokens, seed, voice)
        async for updates in self._ask(conversation_id, tab, question, settings, request):
            yield updates

    async def on_clip(
        self,
        conversation_id: str,
        tab: BrowserTab,
        clip: str | None,
        temperature: float,
        top_p: float,
        max_tokens: float,
        seed: float | None,
        voice: str | None,
        request: gr.Request,
    ) -> AsyncGenerator[Updates, None]:
        """Answer a recorded or uploaded question."""
        question = Question(clip=clip) if clip else None
        settings = (temperature, top_p, max_tokens, seed, voice)
        async for updates in self._ask(conversation_id, tab, question, settings, request):
            yield updates

    async def _ask(
        self,
        conversation_id: str,
        tab: BrowserTab,
        question: Question | None,
        settings: tuple[float, float, float, float | None, str | None],
        request: gr.Request,
    ) -> AsyncGenerator[Updates, None]:
        phrases = phrases_of(request)
        conversation = self._conversations.open(conversation_id)
        if question is None:
            yield self._show(view(conversation, phrases, "error", phrases.nothing), phrases)
            return
        try:
            options = read_options(*settings)
        except AntiphonError as error:
            yield self._show(view(conversation, phrases, "error", str(error)), phrases)
            return
        box = self._parts.turns.text if question.text is not None else self._parts.turns.mic
        start: Updates = {box: None}
        async for step in self._turns.answer(conversation, question, options, phrases, tab):
            yield {**start, **self._show(step, phrases)}
            start = {}
        yield self._results(conversation, request)

    def _show(self, step: View, phrases: Phrases) -> Updates:
        """Turn a view into updates of the components it changes."""
        parts = self._parts.turns
        updates: Updates = {
            parts.chat: list(step.messages),
            parts.status: status_html(step.status),
        }
        if step.status.mood == "done":
            updates.update(self._health(None))
        if step.tokens is not None:
            updates.update(self._show_tokens(step.tokens, phrases))
        if self._streams and step.sound is not None:
            updates[parts.player] = step.sound
        elif not self._streams and step.clip is not None:
            updates[parts.player] = step.clip
        if step.give_back is not None:
            updates.update(self._give_back(step.give_back))
        return updates

    def _show_tokens(self, tokens: TokenView, phrases: Phrases) -> Updates:
        inside = self._parts.developer
        return {
            inside.user_tokens: " ".join(map(str, tokens.user)),
            inside.text_tokens: " ".join(map(str, tokens.text)),
            inside.audio_tokens: " ".join(map(str, tokens.audio)),
            inside.timings: timings_html(tokens, phrases),
        }

    def _give_back(self, question: Question) -> Updates:
        if question.text is not None:
            return {self._parts.turns.text: question.text}
        return {self._parts.turns.mic: question.clip}

    def _results(self, conversation: Conversation, request: gr.Request) -> Updates:
        """What can be done with the last reply."""
        phrases = phrases_of(request)
        return {
            self._parts.turns.downloads: downloads_html(conversation, phrases),
            self._parts.developer.picture: picture_html(conversation, phrases),
            self._parts.developer.curl: curl_command(conversation, base_url(request)),
        }

    def _whole(self, conversation: Conversation, request: gr.Request) -> Updates:
        """All that is known of a conversation."""
        phrases = phrases_of(request)
        return {
            self._parts.turns.chat: conversation.bubbles(phrases),
            **self._show_tokens(TokenView.of(conversation.last_reply()), phrases),
            **self._results(conversation, request),
        }

    async def _failure(self) -> str | None:
        """Say why nothing can be answered, or None."""
        try:
            if self._check is not None:
                await self._check()
        except AntiphonError as error:
            return str(error)
        return None

    def _health(self, failure: str | None) -> Updates:
        column, words, timer = self._parts.health
        shown = status_html(Status("error", failure)) if failure is not None else ""
        return {
            column: gr.update(visible=failure is not None),
            words: shown,
            timer: gr.update(active=failure is not None),
        }

    async def on_stop(self, conversation_id: str) -> None:
        """Silence the player at once and ask the turn to end."""
        self._conversations.open(conversation_id).stop()

    async def on_stopped(self, conversation_id: str, request: gr.Request) -> Updates:
        """Show what was said until the stop."""
        phrases = phrases_of(request)
        conversation = self._conversations.open(conversation_id)
        await settle(conversation)
        return {
            **self._show(view(conversation, phrases, "idle", phrases.stopped), phrases),
            **self._results(conversation, request),
            self._parts.turns.player: None,
        }

    async def on_clear(self, conversation_id: str, request: gr.Request) -> Updates:
        """Forget the conversation, its clips included."""
        phrases = phrases_of(request)
        conversation = self._conversations.open(conversation_id)
        await settle(conversation)
        conversation.clear()
        return self._empty(conversation, request, phrases.cleared)

    async def on_new(self, conversation_id: str, tab: BrowserTab, request: gr.Request) -> Updates:
        """Show another conversation; the one before keeps what was said in it."""
        if tab.exchange is not None:
            tab.exchange.stopped.set()
        conversation = self._conversations.open(conversation_id)
        return self._empty(conversation, request, phrases_of(request).renewed)

    def _empty(self, conversation: Conversation, request: gr.Request, words: str) -> Updates:
        parts = self._parts.turns
        return {
            **self._whole(conversation, request),
            parts.status: status_html(Status("idle", words)),
            **dict.fromkeys((parts.player, parts.mic, parts.text)),
        }


async def settle(conversation: Conversation) -> None:
    """Wait for the turn under way to end; a turn that hangs is logged and left behind."""
    conversation.stop()
    try:
        await conversation.settle(SETTLE_TIMEOUT_S)
    except TimeoutError:
        _log.warning("a turn did not end within %.0f s after it was stopped", SETTLE_TIMEOUT_S)


def phrases_of(request: gr.Request | None) -> Phrases:
    """Choose the phrases for whoever sent a request: the page's choice, else the browser's."""
    headers = request.headers if request is not None else {}
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        cookies = SimpleCookie()
    chosen = cookies[LANGUAGE_COOKIE].value if LANGUAGE_COOKIE in cookies else None
    return phrases_for(headers.get("accept-language"), chosen)


def base_url(request: gr.Request | None) -> str:
    """Give the address of the page as the browser sees it, ending in a slash."""
    headers = request.headers if request is not None else {}
    scheme = headers.get("x-forwarded-proto") or getattr(
        getattr(getattr(request, "request", None), "url", None), "scheme", "http"
    )
    return f"{scheme}://{headers.get('host', 'HOST')}/"
