"""How the page looks: theme, style sheet and small scripts. No request leaves for another host."""

import html

import gradio as gr

from antiphon.demo.handlers import Status
from antiphon.demo.live_reply import TokenView

CSS = """
.gradio-container { width: 100% !important; max-width: 1160px !important;
  margin: 0 auto !important; }
.gradio-container > .main { width: 100%; max-width: 100%; }
#head { gap: 0; padding: 0 4px; }
#head h1 { font-size: 1.7rem; font-weight: 700; letter-spacing: -0.02em; margin: 0; }
#head p { color: var(--body-text-color-subdued); margin: 0; }
#chat { border-radius: 14px; }
#chat button[title="Clear"], #chat button[title="Share"],
#chat button[aria-label="Clear"], #chat button[aria-label="Share"] { display: none; }
#chat .minimal-audio-player { min-width: 220px; white-space: normal; }
#status .html-container { padding: 0; }
.state { display: flex; gap: 10px; align-items: baseline; padding: 8px 14px; border-radius: 10px;
  border: 1px solid var(--border-color-primary); background: var(--background-fill-primary);
  color: var(--body-text-color); font-size: .93rem; line-height: 1.4; }
.state::before { content: ""; flex: none; width: 9px; height: 9px; border-radius: 50%;
  background: #94a3b8; }
.state.done::before { background: #16a34a; }
.state.busy::before { background: #0d9488;
  animation: antiphon-pulse .8s ease-in-out infinite alternate; }
.state.error { background: #fef2f2; border-color: #fca5a5; color: #7f1d1d; }
.state.error::before { background: #dc2626; }
.dark .state.error { background: #450a0a; border-color: #991b1b; color: #fecaca; }
@keyframes antiphon-pulse { to { opacity: .2; } }
@media (prefers-reduced-motion: reduce) { .state::before { animation: none !important; } }
#tokens textarea { font-family: var(--font-mono); font-size: .8rem; }
.timings { display: grid; grid-template-columns: 1fr auto; gap: 4px 12px; font-size: .9rem;
  padding: 2px 4px 8px; }
.timings span:nth-child(even) { text-align: right; font-variant-numeric: tabular-nums; }
.notice { color: var(--body-text-color-subdued); font-size: .85rem; padding: 0 4px; }
"""

# Sounds on the page fall silent in the browser itself, before the server hears of it.
SILENCE = """(...values) => {
  const hush = (root) => root.querySelectorAll('*').forEach((element) => {
    if (element instanceof HTMLMediaElement) element.pause();
    if (element.shadowRoot) hush(element.shadowRoot);
  });
  hush(document);
  return values;
}"""

SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "sans-serif")
MONO_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "monospace")

TIMING_ROWS = (
    ("tokenise_s", "question to speech tokens"),
    ("prefill_s", "prompt to first token"),
    ("first_text_s", "first text after"),
    ("first_audio_s", "first sound after"),
    ("total_s", "complete after"),
)


def theme() -> gr.themes.Base:
    """Make the page's theme, of the fonts that every system has."""
    return gr.themes.Default(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        radius_size="lg",
        font=SYSTEM_FONTS,
        font_mono=MONO_FONTS,
    )


def status_html(status: Status) -> str:
    """Write the status line; screen readers hear it change."""
    role = "alert" if status.mood == "error" else "status"
    live = "assertive" if status.mood == "error" else "polite"
    return (
        f'<div class="state {status.mood}" role="{role}" aria-live="{live}">'
        f"<span>{html.escape(status.words)}</span></div>"
    )


def timings_html(tokens: TokenView | None) -> str:
    """Write the timings of a turn as a small table; nothing before there are any."""
    if tokens is None or tokens.timings is None:
        return ""
    rows = []
    for name, label in TIMING_ROWS:
        seconds = getattr(tokens.timings, name)
        shown = "-" if seconds is None else f"{seconds:.3f} s"
        rows.append(f"<span>{label}</span><span>{shown}</span>")
    return f'<div class="timings">{"".join(rows)}</div>'
