"""Where the components stand. Knows neither what they do nor any model."""

import shutil
from dataclasses import dataclass
from typing import Self

import gradio as gr
from gradio.blocks import Block

from antiphon.demo.conversation import BrowserTab, forget
from antiphon.demo.handlers import Status
from antiphon.demo.labels import Phrases
from antiphon.demo.reply_settings import MAX_SEED, OWN_VOICE, PRESETS, RANDOM_SEED
from antiphon.demo.style import event_log_words, page_file, status_html

HEALTH_CHECK_S = 10  # between looks at a model server that is down


@dataclass(frozen=True)
class PageOptions:
    """What the page is like.

    Attributes:
        title: Name shown at the top.
        max_turns_at_once: Tabs answered at the same time; others wait in the queue.
        max_waiting: Most turns that wait.
        max_new_tokens: Upper end of the slider for the length of a reply.
        default_new_tokens: Where that slider stands at first.
        voices: Voices to choose from; the choice is not shown for fewer than two.
        streams: Whether sound is played while it is made; None: if ffmpeg is there for it.
        offers_mcp: Whether agents may ask through the Model Context Protocol.
    """

    title: str = "Antiphon"
    max_turns_at_once: int = 4
    max_waiting: int = 64
    max_new_tokens: int = 8000
    default_new_tokens: int = 2000
    voices: tuple[str, ...] = ()
    streams: bool | None = None
    offers_mcp: bool = False

    @classmethod
    def for_context(cls, context_length: int, voices: tuple[str, ...] = ()) -> Self:
        """Make options whose limits suit a model that holds `context_length` tokens."""
        most = min(cls.max_new_tokens, context_length)
        default = min(cls.default_new_tokens, most)
        return cls(max_new_tokens=most, default_new_tokens=default, voices=voices)

    @property
    def plays_at_once(self) -> bool:
        """Whether replies are played while they are made."""
        return shutil.which("ffmpeg") is not None if self.streams is None else self.streams


@dataclass(frozen=True, eq=False)
class Header:
    """The top of the page."""

    new: gr.Button
    download: gr.Button
    health: gr.Column
    health_words: gr.HTML
    retry: gr.Button
    health_timer: gr.Timer


@dataclass(frozen=True, eq=False)
class TurnParts:
    """The tab to record, upload or type in."""

    chat: gr.Chatbot
    status: gr.HTML
    text: gr.Textbox
    mic: gr.Audio
    send: gr.Button
    stop: gr.Button
    clear: gr.Button
    player: gr.Audio
    downloads: gr.HTML


@dataclass(frozen=True, eq=False)
class Settings:
    """The settings of replies, in the order that callbacks take them, and those of the page."""

    temperature: gr.Slider
    top_p: gr.Slider
    max_tokens: gr.Slider
    seed: gr.Number
    voice: gr.Dropdown
    presets: tuple[gr.Button, ...]
    language: gr.Radio
    theme: gr.Radio

    @property
    def reply(self) -> list[Block]:
        """The settings of replies."""
        return [self.temperature, self.top_p, self.max_tokens, self.seed, self.voice]


@dataclass(frozen=True, eq=False)
class DeveloperParts:
    """The tab that looks inside."""

    picture: gr.HTML
    timings: gr.HTML
    user_tokens: gr.Textbox
    text_tokens: gr.Textbox
    audio_tokens: gr.Textbox
    curl: gr.Textbox


def place_header(options: PageOptions, t: gr.I18n) -> Header:
    """Place the title, what concerns the whole conversation, and word of a server that is down."""
    with gr.Row(elem_id="head"):
        with gr.Column(elem_id="title", min_width=220):
            gr.Markdown(f"# {options.title}")
            gr.Markdown(t("intro"))
        new = gr.Button(t("new"), size="md", elem_id="new", min_width=90, scale=0)
        download = gr.Button(t("download"), size="md", elem_id="download", min_width=90, scale=0)
    with gr.Column(visible=False, elem_id="health") as health:
        words = gr.HTML("", padding=False)
        retry = gr.Button(t("retry"), size="sm", elem_id="retry")
    return Header(new, download, health, words, retry, gr.Timer(HEALTH_CHECK_S, active=False))


def place_turns(options: PageOptions, t: gr.I18n) -> TurnParts:
    """Place conversation, recorder and player; on a narrow screen they stand below each other."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            chat, status, text = _conversation_column(t)
            downloads = gr.HTML("", padding=False, elem_id="downloads")
        with gr.Column(scale=4, min_width=300):
            mic = gr.Audio(
                label=t("speak"),
                sources=["microphone", "upload"],
                type="filepath",
                elem_id="mic",
                editable=False,
                buttons=[],
            )
            send = gr.Button(t("send"), variant="primary", elem_id="send")
            with gr.Row():
                stop = gr.Button(t("stop"), elem_id="stop", min_width=90)
                clear = gr.Button(t("clear"), elem_id="clear", min_width=90)
            player = _player(t, streams=options.plays_at_once)
    return TurnParts(chat, status, text, mic, send, stop, clear, player, downloads)


def _conversation_column(t: gr.I18n) -> tuple[gr.Chatbot, gr.HTML, gr.Textbox]:
    """Place the conversation, the status line and the box to type in."""
    chat = gr.Chatbot(
        label=t("conversation"),
        show_label=False,
        placeholder=str(t("empty")),
        elem_id="chat",
        height="52vh",
        min_height=300,
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
    )
    return chat, status, text


def _player(t: gr.I18n, *, streams: bool) -> gr.Audio:
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


def place_settings(options: PageOptions, t: gr.I18n) -> Settings:
    """Place the settings of replies and of the page."""
    with gr.Accordion(t("settings"), open=False, elem_id="settings"):
        with gr.Row(elem_id="presets"):
            presets = tuple(gr.Button(t(each.name), size="sm", min_width=90) for each in PRESETS)
        with gr.Row():
            temperature = gr.Slider(
                0, 2, 0.2, step=0.05, label=t("temperature"), info=t("temperature_info")
            )
            top_p = gr.Slider(0.05, 1, 0.8, step=0.05, label=t("top_p"))
        with gr.Row():
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
                RANDOM_SEED,
                label=t("seed"),
                info=t("seed_info"),
                precision=0,
                minimum=RANDOM_SEED,
                maximum=MAX_SEED,
                elem_id="seed",
            )
        voice = _voices(options, t)
        language, theme = _looks(t)
    return Settings(temperature, top_p, max_tokens, seed, voice, presets, language, theme)


def _voices(options: PageOptions, t: gr.I18n) -> gr.Dropdown:
    """Place the choice of a voice; there is none where the decoder has one voice only."""
    first = options.voices[0] if len(options.voices) > 1 else OWN_VOICE
    return gr.Dropdown(
        list(options.voices) or [OWN_VOICE],
        value=first,
        label=t("voice"),
        visible=len(options.voices) > 1,
        elem_id="voice",
        allow_custom_value=first == OWN_VOICE,
    )


def _looks(t: gr.I18n) -> tuple[gr.Radio, gr.Radio]:
    """Place language and colours; their choices are told in both languages."""
    with gr.Row():
        language = gr.Radio(
            [("Auto · 自动", "auto"), ("English", "en"), ("中文", "zh")],
            value="auto",
            label=t("language"),
            elem_id="language",
        )
        theme = gr.Radio(
            [("Auto · 自动", "auto"), ("Light · 浅色", "light"), ("Dark · 深色", "dark")],
            value="auto",
            label=t("theme"),
            elem_id="theme",
        )
    return language, theme


def place_developer(t: gr.I18n) -> DeveloperParts:
    """Place the event log, and what is to be seen inside the last reply."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=320):
            gr.Markdown(t("events"), elem_classes="heading")
            place_event_log()
        with gr.Column(scale=5, min_width=320):
            gr.Markdown(t("last_reply"), elem_classes="heading")
            picture = gr.HTML("", padding=False, elem_id="picture")
            timings = gr.HTML("", padding=False, elem_id="timings")
            with gr.Accordion(t("tokens"), open=False, elem_id="tokens"):
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
            curl = gr.Textbox(
                label=t("curl"),
                lines=4,
                max_lines=10,
                interactive=False,
                buttons=["copy"],
                elem_id="curl",
            )
    return DeveloperParts(picture, timings, user, text, audio, curl)


def place_event_log() -> gr.HTML:
    """Place the log of the live call's events; it is the browser's own and asks no server."""
    return gr.HTML(
        html_template=page_file("event_log.html"),
        js_on_load=page_file("event_log.js"),
        apply_default_css=False,
        words=event_log_words(),
        elem_id="events",
    )


def place_bridge() -> gr.HTML:
    """Place what tells the server that the conversation changed elsewhere; nothing is seen."""
    return gr.HTML(html_template="", js_on_load=page_file("bridge.js"), elem_id="bridge")


def place_tab_state() -> gr.State:
    """Place what is kept of a browser tab for as long as it is open."""
    return gr.State(BrowserTab(), delete_callback=forget)
