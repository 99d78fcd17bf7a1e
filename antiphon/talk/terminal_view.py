"""What people see of a call in the terminal: transcript, words as they are heard, state, latency.

Drawn with the library rich from the call's own state, ten times a second. Changes nothing.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from antiphon.errors import SoundDeviceError
from antiphon.talk.call import Call
from antiphon.talk.call_state import CONNECTING, CallObserver
from antiphon.talk.live_talk import LiveTalk
from antiphon.talk.playback_buffer import Playback
from antiphon.talk.sound_devices import INSTALL
from antiphon.talk.transcript import ASSISTANT, OPEN, USER, Line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

FRAME_S = 0.1
NOTICE_S = 6.0
METER = " ▁▂▃▄▅▆▇█"
STATES = {
    "connecting": ("connecting", "yellow"),
    "listening": ("listening", "green"),
    "hearing": ("hearing you", "bold green"),
    "thinking": ("thinking", "yellow"),
    "speaking": ("speaking", "cyan"),
    "muted": ("muted", "red"),
    "ready": ("space to speak", "green"),
}
STAGES = (
    ("endpoint", "endpoint_ms"),
    ("tokenise", "tokenise_ms"),
    ("first text", "first_text_ms"),
    ("first sound", "first_audio_ms"),
)


def make_console() -> "Console":
    """Make what is drawn on; raises SoundDeviceError that says what to install without rich."""
    try:
        from rich.console import Console
    except ImportError as error:
        raise SoundDeviceError(f"the live view needs the package rich: {INSTALL}") from error
    return Console()


class Notices(CallObserver):
    """Keeps the last notice for a while."""

    def __init__(self) -> None:
        """Start without one."""
        self._message, self._until = "", 0.0

    def on_notice(self, message: str) -> None:
        """Show a notice from now on."""
        self._message, self._until = message, time.monotonic() + NOTICE_S

    @property
    def current(self) -> str:
        """The notice to show; "" if there is none."""
        return self._message if time.monotonic() < self._until else ""


def latency_text(details: Mapping[str, object]) -> str:
    """Write where the time of a reply went, counted from the end of the speech; "" if unknown."""
    timings = details.get("timings")
    times = timings if isinstance(timings, Mapping) else {}
    parts = [
        f"{name} {times[key] / 1_000:.2f} s"
        for name, key in STAGES
        if isinstance(times.get(key), int | float)
    ]
    rtf = details.get("rtf")
    if isinstance(rtf, int | float):
        parts.append(f"RTF {rtf:.2f}")
    return " · ".join(parts)


def meter(level: float) -> str:
    """Draw a level from 0 to 1 as one character."""
    return METER[min(len(METER) - 1, round(level * (len(METER) - 1)))]


class TerminalView:
    """Draws a call: finished turns scroll up, below them the open turn, state and latency."""

    def __init__(self, call: Call, talk: LiveTalk, notices: Notices, console: "Console") -> None:
        """Draw on `console`."""
        self._call, self._talk, self._notices, self._console = call, talk, notices, console
        self._printed: set[str] = set()

    async def run(self) -> None:
        """Draw until cancelled."""
        from rich.live import Live

        with Live(console=self._console, auto_refresh=False) as live:
            while True:
                for text in self.finished():
                    live.console.print(text)
                live.update(self.frame(), refresh=True)
                await asyncio.sleep(FRAME_S)

    def finished(self) -> "list[Text]":
        """Give the lines that will not change any more and were not given yet."""
        playback = self._call.playback.status()
        lines = self._unprinted()
        final = [
            index
            for index, line in enumerate(lines)
            if line.role == ASSISTANT and line.status != OPEN and not _plays(line, playback)
        ]
        ready = lines[: final[-1] + 1] if final else []
        self._printed |= {line.item_id for line in ready}
        return [line_text(line, None) for line in ready]

    def _unprinted(self) -> list[Line]:
        lines = self._call.state.transcript.lines
        return [line for line in lines if line.item_id not in self._printed]

    def frame(self) -> "Text":
        """Draw the part that changes."""
        from rich.text import Text

        playback = self._call.playback.status()
        rows = []
        for line in self._unprinted():
            is_later = line.role == ASSISTANT and not _plays(line, playback)
            rows.append(line_text(line, 0.0 if is_later else playback.played_ms))
        rows.append(self._state_line())
        last = self._call.state.last_reply
        latency = latency_text(last.details) if last is not None else ""
        if latency:
            rows.append(Text(f"{latency} · underruns {playback.n_underruns}", "dim"))
        if self._notices.current:
            rows.append(Text(self._notices.current, "yellow"))
        return Text("\n").join(rows)

    def _state_line(self) -> "Text":
        from rich.text import Text

        words, style = STATES[self._state()]
        text = Text.assemble(("● ", style), (words, style), f" {meter(self._talk.level)}")
        position = self._call.state.queue_position
        if position is not None:
            text.append(f"  place {position} in the queue", "yellow")
        return text.append("   Ctrl-C stops, twice leaves · m mutes", "dim")

    def _state(self) -> str:
        state = self._call.state.state
        if state == CONNECTING:
            return state
        if not self._call.playback.is_idle:
            return "speaking"
        if self._talk.is_muted:
            return "muted"
        if self._talk.is_push_to_talk and state == "listening":
            return "hearing" if self._talk.is_speaking else "ready"
        return state if state != "speaking" else "thinking"


def _plays(line: Line, playback: Playback) -> bool:
    return playback.is_playing and playback.item_id == line.item_id


def line_text(line: Line, played_ms: float | None) -> "Text":
    """Draw one line; what is not heard after `played_ms` is dim, None for all heard."""
    from rich.text import Text

    if line.role == USER:
        return Text.assemble(("you    ", "bold green"), line.text or "(spoken)")
    heard_ms = line.heard_ms if line.heard_ms is not None else played_ms
    heard = line.text if heard_ms is None else line.heard(heard_ms)
    style = "dim strike" if line.heard_ms is not None else "dim"
    text = Text.assemble(("model  ", "bold cyan"), heard, (line.text[len(heard) :], style))
    if line.heard_ms is not None:
        text.append(f"  [cut at {line.heard_ms / 1_000:.1f} s]", "yellow")
    elif line.status not in {OPEN, "completed"}:
        text.append(f"  [{line.status}]", "yellow")
    return text
