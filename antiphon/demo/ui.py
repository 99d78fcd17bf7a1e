"""The layout of the page and which button does what. Knows no model: a pipeline is passed in."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import gradio as gr

from antiphon.demo.callbacks import Callbacks, Check, Parts
from antiphon.demo.conversation import Conversation, forget
from antiphon.demo.handlers import Responder, Status, TurnHandler
from antiphon.demo.labels import STATIC_CHINESE, STATIC_ENGLISH, Phrases
from antiphon.demo.style import SILENCE, status_html

Result = TypeVar("Result")

CACHE_CHECK_S = 600
CACHE_AGE_S = 7200


@dataclass(frozen=True)
class PageOptions:
    """What the page is like.

    Attributes:
        title: Name shown at the top.
        clip_root: Folder for the clips of all tabs; inside Gradio's own cache none is copied.
        max_turns_at_once: Tabs answered at the same time; others wait in the queue.
        max_waiting: Most turns that wait.
        max_new_tokens: Upper end of the slider for the length of a reply.
        default_new_tokens: Where that slider stands at first.
        streams: Whether sound is played while it is made; None: if ffmpeg is there for it.
        offers_mcp: Whether agents may ask through the Model Context Protocol.
    """

    title: str = "Antiphon"
    clip_root: Path | None = None
    max_turns_at_once: int = 4
    max_waiting: int = 64
    max_new_tokens: int = 8000
    default_new_tokens: int = 2000
    streams: bool | None = None
    offers_mcp: bool = False

    @classmethod
    def for_context(cls, context_length: int) -> Self:
        """Make options whose limits suit a model that holds `context_length` tokens."""
        most = min(cls.max_new_tokens, context_length)
        return cls(max_new_tokens=most, default_new_tokens=min(cls.default_new_tokens, most))


@dataclass(frozen=True, eq=False)
class Page:
    """The page and its dictionary, which Gradio wants at launch."""

    blocks: gr.Blocks
    i18n: gr.I18n


def build_page(pipeline: Responder, options: PageOptions, check: Check | None = None) -> Page:
    """Build the page around a pipeline.

    Args:
        pipeline: Answers the questions.
        options: What the page is like.
        check: Asked when the page is opened; its error is shown before the first question.
    """
    return inside_event_loop(lambda: _build(pipeline, options, check))


def inside_event_loop(function: Callable[[], Result]) -> Result:
    """Call a function of Gradio's that makes locks; without a loop each would leave one open."""

    async def call() -> Result:
        return function()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(call())
    return function()


def _build(pipeline: Responder, options: PageOptions, check: Check | None) -> Page:
    """Build the page: components, callbacks, queue."""
    i18n = gr.I18n(en=STATIC_ENGLISH, zh=STATIC_CHINESE, **{"zh-CN": STATIC_CHINESE})
    streams = shutil.which("ffmpeg") is not None if options.streams is None else options.streams
    with gr.Blocks(
        title=options.title, analytics_enabled=False, delete_cache=(CACHE_CHECK_S, CACHE_AGE_S)
    ) as blocks:
        parts = _lay_out(options, i18n, streams)
        callbacks = Callbacks(TurnHandler(pipeline), parts, streams=streams, check=check)
        _wire(parts, callbacks, options)
        blocks.load(
            callbacks.on_load,
            None,
            parts.status,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
    blocks.queue(
        max_size=options.max_waiting,
        default_concurrency_limit=options.max_turns_at_once,
        api_open=False,
    )
    return Page(blocks, i18n)


def _lay_out(options: PageOptions, t: gr.I18n, streams: bool) -> Parts:
    """Place the components; on a narrow screen the columns stand below each other."""
    with gr.Column(elem_id="head", scale=0):
        gr.Markdown(f"# {options.title}")
        gr.Markdown(t("intro"))
    conversation = gr.State(Conversation(clip_root=options.clip_root), delete_callback=forget)
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            chat, status, text = _conversation_column(t)
        with gr.Column(scale=4, min_width=300):
            mic, send = _microphone(t)
            with gr.Row():
                stop = gr.Button(t("stop"), variant="stop", elem_id="stop", min_width=90)
                clear = gr.Button(t("clear"), elem_id="clear", min_width=90)
            player = _player(t, streams)
            settings = _settings(options, t)
            token_boxes, timings = _token_view(t)
    return Parts(
        conversation=conversation,
        chat=chat,
        status=status,
        text=text,
        mic=mic,
        send=send,
        stop=stop,
        clear=clear,
        player=player,
        settings=settings,
        token_boxes=token_boxes,
        timings=timings,
    )


def _conversation_column(t: gr.I18n) -> tuple[gr.Chatbot, gr.HTML, gr.Textbox]:
    """Place the conversation, the status line and the box to type in."""
    chat = gr.Chatbot(
        label=t("conversation"),
        placeholder=str(t("empty")),
        elem_id="chat",
        height="58vh",
        min_height=320,
        render_markdown=False,
        buttons=["copy"],
        feedback_options=None,
    )
    ready = Status("idle", Phrases().ready)
    status = gr.HTML(status_html(ready), elem_id="status", padding=False)
    text = gr.Textbox(
        label=t("question"),
        placeholder=t("type_here"),
        elem_id="text",
        submit_btn=True,
        max_lines=4,
        max_length=4000,
        autofocus=True,
    )
    return chat, status, text


def _microphone(t: gr.I18n) -> tuple[gr.Audio, gr.Button]:
    """Place the recorder, which also takes files, and the button that sends the clip."""
    mic = gr.Audio(
        label=t("speak"),
        sources=["microphone", "upload"],
        type="filepath",
        elem_id="mic",
        editable=False,
        buttons=[],
    )
    return mic, gr.Button(t("send"), variant="primary", elem_id="send")


def _player(t: gr.I18n, streams: bool) -> gr.Audio:
    """Place the player of the reply that is being spoken."""
    player = gr.Audio(
        label=t("reply"),
        streaming=streams,
        autoplay=True,
        interactive=False,
        elem_id="player",
        buttons=[],
    )
    if not streams:
        gr.HTML(f'<div class="notice">{Phrases().no_ffmpeg}</div>', elem_id="no-ffmpeg")
    return player


def _settings(
    options: PageOptions, t: gr.I18n
) -> tuple[gr.Slider, gr.Slider, gr.Slider, gr.Number]:
    """Place the sampling settings."""
    with gr.Accordion(t("settings"), open=False, elem_id="settings"):
        temperature = gr.Slider(
            0, 2, 0.2, step=0.05, label=t("temperature"), info=t("temperature_info")
        )
        top_p = gr.Slider(0.05, 1, 0.8, step=0.05, label=t("top_p"))
        max_tokens = gr.Slider(
            1,
            options.max_new_tokens,
            options.default_new_tokens,
            step=1,
            label=t("max_tokens"),
            info=t("max_tokens_info"),
            elem_id="max-tokens",
        )
        seed = gr.Number(
            -1, label=t("seed"), info=t("seed_info"), precision=0, minimum=-1, elem_id="seed"
        )
    return temperature, top_p, max_tokens, seed


def _token_view(t: gr.I18n) -> tuple[tuple[gr.Textbox, gr.Textbox, gr.Textbox], gr.HTML]:
    """Place the view of tokens and timings."""
    with gr.Accordion(t("debug"), open=False, elem_id="tokens"):
        timings = gr.HTML("", padding=False, elem_id="timings")
        user, text, audio = (
            gr.Textbox(
                label=t(key),
                lines=2,
                max_lines=6,
                interactive=False,
                buttons=["copy"],
                elem_id=key.replace("_", "-"),
            )
            for key in ("user_tokens", "text_tokens", "audio_tokens")
        )
    return (user, text, audio), timings


def _wire(parts: Parts, callbacks: Callbacks, options: PageOptions) -> None:
    """Connect buttons and callbacks; asking, stopping and recording silence what still plays."""
    asking = (
        (parts.text.submit, callbacks.on_text, parts.text),
        (parts.send.click, callbacks.on_clip, parts.mic),
    )
    turns = [
        gr.on(
            [trigger],
            callback,
            [parts.conversation, source, *parts.settings],
            parts.shown,
            js=SILENCE,
            show_progress="hidden",
            api_visibility="private",
            concurrency_id="turn",
            concurrency_limit=options.max_turns_at_once,
        )
        for trigger, callback, source in asking
    ]
    for button, settled in ((parts.stop, callbacks.on_stopped), (parts.clear, callbacks.on_clear)):
        stopping = button.click(
            callbacks.on_stop,
            [parts.conversation],
            [parts.player],
            js=SILENCE,
            cancels=turns,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
        stopping.then(
            settled,
            [parts.conversation],
            parts.shown,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
    parts.mic.start_recording(None, js=SILENCE, api_visibility="private")
