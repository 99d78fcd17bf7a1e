"""Puts the page together: three tabs, which button does what. Knows no model."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from antiphon.demo import layout
from antiphon.demo.callbacks import Callbacks, Check, Parts
from antiphon.demo.conversation import Conversations
from antiphon.demo.endpoints import Endpoints, Limits, place_endpoints
from antiphon.demo.handlers import TurnHandler
from antiphon.demo.labels import STATIC_CHINESE, STATIC_ENGLISH
from antiphon.demo.layout import PageOptions, Settings
from antiphon.demo.reply_settings import PRESETS
from antiphon.demo.voice_panel import build_voice_panel
from antiphon.realtime.parts import RealtimeParts

Result = TypeVar("Result")

CACHE_CHECK_S = 600
CACHE_AGE_S = 7200

# Values of events, changed in the browser before they are sent: the conversation is the browser's.
HERE = "(...values) => antiphonPage.here(values)"
ASK = "(...values) => antiphonPage.ask(values)"
RENEW = "async (...values) => { await antiphonPage.renew(); return antiphonPage.here(values); }"
HUSH = "(...values) => { antiphonPage.hush(); return values; }"
TELL = "() => antiphonPage.tell()"


@dataclass(frozen=True, eq=False)
class Page:
    """The page and its dictionary, which Gradio wants when it is served."""

    blocks: gr.Blocks
    i18n: gr.I18n


@dataclass(frozen=True, eq=False)
class Backend:
    """What the page stands on.

    Attributes:
        calls: What answers, what remembers, what hears; calls and typed questions share it.
        check: Asked when the page is opened; its error is shown before the first question.
    """

    calls: RealtimeParts
    check: Check | None = None


@dataclass(frozen=True, eq=False)
class Wiring:
    """Components and what they call."""

    conversation_id: gr.Textbox
    tab: gr.State
    parts: Parts
    settings: Settings
    callbacks: Callbacks
    n_at_once: int


def inside_event_loop(function: Callable[[], Result]) -> Result:
    """Call a function of Gradio's that makes locks; without a loop each would leave one open."""

    async def call() -> Result:
        return function()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(call())
    return function()


def build_page(backend: Backend, options: PageOptions) -> Page:
    """Build the page: components, callbacks, queue."""
    i18n = gr.I18n(en=STATIC_ENGLISH, zh=STATIC_CHINESE, **{"zh-CN": STATIC_CHINESE})
    handler = TurnHandler(backend.calls.responder)
    conversations = Conversations(backend.calls.store)
    with gr.Blocks(
        title=options.title, analytics_enabled=False, delete_cache=(CACHE_CHECK_S, CACHE_AGE_S)
    ) as blocks:
        tab, conversation_id = layout.place_tab_state(), gr.Textbox(visible=False)
        header = layout.place_header(options, i18n)
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab(i18n("live"), id="live", elem_id="tab-live"):
                build_voice_panel()
            with gr.Tab(i18n("turns"), id="turns", elem_id="tab-turns"):
                turns = layout.place_turns(options, i18n)
            with gr.Tab(i18n("developer"), id="developer", render_children=True):
                developer = layout.place_developer(i18n)
        settings = layout.place_settings(options, i18n)
        bridge = layout.place_bridge()
        parts = Parts(header, turns, developer)
        callbacks = Callbacks(
            handler, conversations, parts, streams=options.plays_at_once, check=backend.check
        )
        n_at_once = options.max_turns_at_once
        wiring = Wiring(conversation_id, tab, parts, settings, callbacks, n_at_once)
        wire_page(wiring, blocks, bridge)
        wire_turns(wiring)
        wire_settings(settings, blocks)
        limits = Limits(options.max_new_tokens, options.default_new_tokens, n_at_once)
        place_endpoints(Endpoints(handler, conversations), limits)
    blocks.queue(max_size=options.max_waiting, default_concurrency_limit=n_at_once, api_open=True)
    return Page(blocks, i18n)


def quietly(
    listen: Callable[..., Dependency],
    function: Callable[..., object] | None,
    inputs: list[Block] | None = None,
    outputs: list[Block] | None = None,
    js: str | None = None,
) -> Dependency:
    """Connect an event of the page's own: at once, without a sign of progress, not for programs."""
    return listen(
        function,
        inputs,
        outputs,
        js=js,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )


def wire_page(wiring: Wiring, blocks: gr.Blocks, bridge: gr.HTML) -> None:
    """Connect what concerns the conversation as a whole."""
    callbacks, parts, header = wiring.callbacks, wiring.parts, wiring.parts.header
    here: list[Block] = [wiring.conversation_id]
    quietly(blocks.load, callbacks.on_load, here, parts.shown, HERE)
    quietly(bridge.changed, callbacks.on_changed, here, parts.shown, HERE)
    quietly(header.new.click, callbacks.on_new, [*here, wiring.tab], parts.shown, RENEW)
    quietly(header.download.click, None, js="() => antiphonPage.download('.zip')")
    looked = [*parts.health, parts.turns.status]
    quietly(header.retry.click, callbacks.on_check, None, looked)
    quietly(header.health_timer.tick, callbacks.on_check, None, looked)


def wire_turns(wiring: Wiring) -> None:
    """Connect the turn-by-turn tab; asking, stopping and recording silence what still plays."""
    callbacks, turns = wiring.callbacks, wiring.parts.turns
    here: list[Block] = [wiring.conversation_id]
    asking = (
        (turns.text.submit, callbacks.on_text, turns.text),
        (turns.send.click, callbacks.on_clip, turns.mic),
    )
    asked = [
        gr.on(
            [trigger],
            callback,
            [*here, wiring.tab, source, *wiring.settings.reply],
            wiring.parts.shown,
            js=ASK,
            show_progress="hidden",
            api_visibility="private",
            concurrency_id="turn",
            concurrency_limit=wiring.n_at_once,
        )
        for trigger, callback, source in asking
    ]
    for turn in asked:
        quietly(turn.then, None, js=TELL)
    for button, settled in ((turns.stop, callbacks.on_stopped), (turns.clear, callbacks.on_clear)):
        stopping = button.click(
            callbacks.on_stop,
            here,
            [turns.player],
            js=ASK,
            cancels=asked,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
        done = quietly(stopping.then, settled, here, wiring.parts.shown, HERE)
        quietly(done.then, None, js=TELL)
    turns.mic.start_recording(None, js=HUSH, api_visibility="private")


def wire_settings(settings: Settings, blocks: gr.Blocks) -> None:
    """Connect the settings; they never leave the browser but with a question."""
    reply = settings.reply
    restore = "(...values) => antiphonPage.restore(...values)"
    quietly(blocks.load, None, reply, reply, restore)
    looks: list[Block] = [settings.language, settings.theme]
    show = "() => [antiphonPage.language(), antiphonPage.theme()]"
    quietly(blocks.load, None, None, looks, show)
    told = "(...values) => { antiphonPage.configure(...values); }"
    changed = [getattr(component, "change") for component in reply]  # noqa: B009
    quietly(partial(gr.on, changed), None, reply, None, told)
    sampled: list[Block] = [settings.temperature, settings.top_p, settings.seed]
    for button, preset in zip(settings.presets, PRESETS, strict=True):
        values = f"[{preset.temperature}, {preset.top_p}, {preset.seed}]"
        quietly(button.click, None, None, sampled, f"() => {values}")
    language, theme = settings.language, settings.theme
    say = "(name) => { antiphonPage.setLanguage(name); }"
    quietly(language.input, None, [language], None, say)
    quietly(theme.input, None, [theme], None, "(name) => { antiphonPage.setTheme(name); }")
