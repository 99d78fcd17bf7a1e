"""How the page looks: theme, style sheet, scripts, small pieces of html. Asks no other host."""

import html
import json
from importlib import resources

import gradio as gr

from antiphon.demo.conversation import Conversation
from antiphon.demo.handlers import Status
from antiphon.demo.labels import (
    CHINESE_PHRASES,
    EVENT_LOG_WORDS,
    TIMING_CHINESE,
    TIMING_ENGLISH,
    Phrases,
)
from antiphon.demo.live_reply import TokenView
from antiphon.realtime.conversation_store import ConversationItem

SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "sans-serif")
MONO_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "monospace")


def page_file(name: str) -> str:
    """Read one of the page's own browser files."""
    return resources.files("antiphon.demo").joinpath("page", name).read_text("utf-8")


def theme() -> gr.themes.Base:
    """Make the page's theme, of the fonts that every system has."""
    made = gr.themes.Default(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        radius_size="lg",
        font=SYSTEM_FONTS,
        font_mono=MONO_FONTS,
    )
    return made.set(  # contrasts of at least 4.5 to 1, and the shapes of the live call
        block_radius="16px",
        block_label_radius="16px 0 10px 0",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_label_text_color="*neutral_600",
        block_title_text_color="*neutral_600",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        color_accent="*primary_700",
        button_large_radius="12px",
        button_medium_radius="999px",
        button_small_radius="999px",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_400",
        button_primary_background_fill_hover_dark="*primary_300",
        button_primary_text_color="white",
        button_primary_text_color_dark="*primary_950",
        button_secondary_background_fill="white",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_700",
        button_border_width="1px",
        button_border_width_dark="1px",
        button_large_text_weight="600",
        button_medium_text_weight="500",
        button_small_text_weight="500",
        body_background_fill_dark="#0b111c",
        block_background_fill_dark="#17202f",
    )


def event_log_words() -> str:
    """Give the words of the event log in all languages, as JSON."""
    return json.dumps(EVENT_LOG_WORDS)


def status_html(status: Status) -> str:
    """Write the status line; screen readers hear it change."""
    role = "alert" if status.mood == "error" else "status"
    live = "assertive" if status.mood == "error" else "polite"
    return (
        f'<div class="state {status.mood}" role="{role}" aria-live="{live}">'
        f"<span>{html.escape(status.words)}</span></div>"
    )


def timings_html(tokens: TokenView | None, phrases: Phrases) -> str:
    """Write the timings of a turn as a small table; nothing before there are any."""
    if tokens is None or not tokens.timings:
        return ""
    names = TIMING_CHINESE if phrases == CHINESE_PHRASES else TIMING_ENGLISH
    rows = [
        f"<dt>{label}</dt><dd>{tokens.timings[name] / 1000:.3f} s</dd>"
        for name, label in names.items()
        if name in tokens.timings
    ]
    if tokens.rtf is not None:
        rows.append(f"<dt>{names['rtf']}</dt><dd>{tokens.rtf:.2f} s</dd>")
    return f'<dl class="timings">{"".join(rows)}</dl>'


def downloads_html(conversation: Conversation, phrases: Phrases) -> str:
    """Write the links to the last reply, to the whole conversation and to each of its turns."""
    reply = conversation.last_reply()
    if reply is None:
        return ""
    turns = "".join(
        f"<li>{phrases.person if item.role == 'user' else phrases.model} "
        f"{item_links(conversation.id, item)}</li>"
        for item in conversation.items
    )
    return (
        f'<div class="downloads"><span>{phrases.save_reply}</span> '
        f"{item_links(conversation.id, reply)}"
        f'<span class="apart">{phrases.save_all}</span> '
        f'<a href="conversation/{conversation.id}.zip" download>zip</a></div>'
        f'<details class="downloads"><summary>{phrases.save_turns}</summary>'
        f"<ol>{turns}</ol></details>"
    )


def item_links(conversation_id: str, item: ConversationItem) -> str:
    """Write the links to what an item sounds like, if it was spoken, and to its details."""
    address = f"conversation/{conversation_id}/item/{html.escape(item.id)}"
    kinds = ("json",) if item.clip is None else ("wav", "json")
    return " ".join(f'<a href="{address}.{kind}" download>{kind}</a>' for kind in kinds)


def picture_html(conversation: Conversation, phrases: Phrases) -> str:
    """Write the picture of the last reply, in the colours of the page."""
    reply = conversation.last_reply()
    if reply is None or reply.clip is None:
        return f'<p class="notice">{phrases.no_reply}</p>'
    address = f"conversation/{conversation.id}/item/{reply.id}.png"
    pictures = "".join(
        f'<img class="on-{name}" loading="lazy" alt="{phrases.picture}"'
        f' src="{address}?theme={name}">'
        for name in ("light", "dark")
    )
    return f'<div class="sound-picture">{pictures}</div>'
