"""Holds calls on the page in headless Chromium: speaks into its microphone, listens to its graph.

All times are wall clock in ms since 1970, taken where sound passes (call_probe.js).
"""

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import TimeoutError as BrowserTimeoutError

from antiphon.audio import Waveform, float_to_pcm16, read_audio

RATE = 24_000  # of the player's graph
MIC_RATE = 48_000
PATIENCE_S = 60.0  # for anything that is waited for
PROBE = Path(__file__).with_name("call_probe.js")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
Note = Mapping[str, object]


@contextmanager
def open_browser(*flags: str) -> Iterator[Browser]:
    """Start Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=[*FLAGS, *flags],
            ignore_default_args=["--mute-audio", "--headless"],
        )
        try:
            yield browser
        finally:
            browser.close()


def synthesise(words: str, voice: str = "en-us") -> Waveform:
    """Speak words with espeak-ng, without silence around them; (n_samples,) at `MIC_RATE`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.wav"
        command = ["espeak-ng", "-v", voice, "-s", "165", "-w", str(path), words]
        subprocess.run(command, check=True, timeout=60)
        waveform = read_audio(path, MIC_RATE)
    loud = np.flatnonzero(np.abs(waveform) > 0.02 * np.abs(waveform).max())
    clip = waveform[loud[0] : loud[-1] + 1]
    return np.asarray(clip / np.abs(clip).max() * 0.5, np.float32)


@dataclass(frozen=True)
class Sound:
    """One stretch of sound that left the player.

    Attributes:
        began_ms, ended_ms: Wall clock of its first and last sample that is not zero.
        n_samples: From the first to the last of these, pauses up to a quarter of a second included.
        start_frame: Of the player's graph, at the first.
    """

    began_ms: float
    ended_ms: float
    n_samples: int
    start_frame: int

    @property
    def ms(self) -> float:
        """Its length."""
        return self.n_samples * 1000 / RATE


@dataclass(frozen=True)
class Spoken:
    """When the microphone heard a clip; frames are of its own graph at `MIC_RATE`."""

    began_ms: float
    ended_ms: float
    end_frame: int


@dataclass(frozen=True)
class Turn:
    """One question and its answer.

    Attributes:
        spoken: The question; None if it was typed.
        sound: The reply as it left the player.
        first_delta: The event before the reply's first sound.
        first_delta_ms: When it came.
        response: `response.done`'s.
    """

    spoken: Spoken | None
    sound: Sound
    first_delta: dict[str, object]
    first_delta_ms: float
    response: dict[str, object]

    @property
    def answer(self) -> str:
        """Words of the reply."""
        return transcript_of(self.response)

    @property
    def sent_ms(self) -> float:
        """When the server sent the first sound: its monotonic clock as wall clock."""
        marks = self.first_delta["antiphon"]
        assert isinstance(marks, dict)
        return (float(marks["server_t"]) - time.monotonic() + time.time()) * 1000


def transcript_of(response: Mapping[str, object]) -> str:
    """Give the words of a response."""
    output = response.get("output")
    if not isinstance(output, list) or not output:
        return ""
    return str(output[0]["content"][0].get("transcript", ""))


class CallError(RuntimeError):
    """Something that was waited for did not happen."""


class CallDriver:
    """A browser tab with the page.

    Attributes:
        page: Playwright's page.
        notes: What the probe told so far.
        problems: Errors on the page's console.
        requests: Addresses that were asked for.
    """

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        echo_db: float | None = None,
        echo_ms: float = 80.0,
        uses_device: bool = False,
        patience_s: float = PATIENCE_S,
        **context: object,
    ) -> None:
        options = {"locale": "en-US", **context}
        self.context = browser.new_context(permissions=["microphone"], **options)
        self.context.set_default_timeout(patience_s * 1000)
        self.patience_s = patience_s
        self.page: Page = self.context.new_page()
        self.url = url
        self.notes: list[Note] = []
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: m.type == "error" and self.problems.append(m.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        script = PROBE.read_text("utf-8")
        if uses_device:
            script = "window.probeUsesDevice = true;\n" + script
        if echo_db is not None:
            echo = {"levelDb": echo_db, "delayMs": echo_ms}
            script += f"\nprobe.echo = {json.dumps(echo)};"
        self.page.add_init_script(script)
        self.open()

    def open(self) -> None:
        """Go to the page, also again."""
        self.page.goto(self.url)
        self.page.wait_for_selector("#voice-panel #call")

    def close(self) -> None:
        """Close the tab."""
        self.context.close()

    def __enter__(self) -> "CallDriver":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:  # else the page may hang, and the browser is closed after it anyway
            self.close()

    # what the page shows

    def start(self) -> None:
        """Begin the call."""
        self.page.click("#call")
        self.wait_for_state("listening")

    def state(self) -> str:
        """Give the panel's state."""
        return str(self.page.get_attribute(".panel", "data-state"))

    def wait_for_state(self, *names: str) -> None:
        """Wait for one of some states.

        Raises:
            CallError: If it is in none of them in time.
        """
        selector = ", ".join(f".panel[data-state={name}]" for name in names)
        try:
            self.page.wait_for_selector(selector)
        except BrowserTimeoutError as error:
            raise CallError(f"waited for {' or '.join(names)}, still {self.state()}") from error

    def ask(self, expression: str) -> object:
        """Ask the page's own interface."""
        return self.page.evaluate(f"() => window.antiphonCall.{expression}")

    def items(self) -> list[dict[str, object]]:
        """Give the conversation as the page has it."""
        found = self.ask("items()")
        assert isinstance(found, list)
        return found

    def stored_items(self) -> list[dict[str, object]]:
        """Give the conversation as the server has it; none if it knows none."""
        answer = self.page.request.get(
            f"{self.url}conversation/{self.ask('conversationId()')}.json"
        )
        return list(answer.json()["items"]) if answer.ok else []

    # what the probe tells

    def mark(self) -> int:
        """Give the number of notes so far: where to look from for what comes."""
        self.drain()
        return len(self.notes)

    def drain(self) -> None:
        """Take what the probe told."""
        self.notes += self.page.evaluate("() => probe.drain()")

    def of_kind(self, what: str, since: int = 0) -> list[Note]:
        """Give notes of a kind (a whole name, or the beginning of one)."""
        return [note for note in self.notes[since:] if re.match(what, str(note["what"]))]

    def wait_for(
        self,
        what: str,
        since: int = 0,
        timeout_s: float | None = None,
        accept: Callable[[Note], bool] = lambda note: True,
    ) -> Note:
        """Wait for the first note of a kind.

        Raises:
            CallError: If there is none in time.
        """
        timeout_s = timeout_s or self.patience_s
        deadline = time.monotonic() + timeout_s
        while True:
            self.drain()
            found = [note for note in self.of_kind(what, since) if accept(note)]
            if found:
                return found[0]
            if time.monotonic() > deadline:
                kinds = [str(note["what"]) for note in self.notes[since:]][-12:]
                raise CallError(
                    f"no {what} within {timeout_s:g} s; the page is {self.state()}; "
                    f"last came {', '.join(kinds) or 'nothing'}"
                )
            self.page.wait_for_timeout(40)

    # talking

    def say(self, clip: Waveform) -> int:
        """Speak a clip, (n_samples,) at `MIC_RATE`; gives its number and does not wait."""
        pcm = base64.b64encode(float_to_pcm16(clip).astype("<i2").tobytes()).decode()
        return int(self.page.evaluate("(pcm) => probe.say(pcm)", pcm))

    def spoken(self, number: int) -> Spoken:
        """Wait until a clip was spoken, and say when."""
        began = self.wait_for("voice:began", accept=lambda note: note["id"] == number)
        ended = self.wait_for("voice:ended", accept=lambda note: note["id"] == number)
        frame = ended["frame"]
        return Spoken(number_of(began, "wall"), number_of(ended, "wall"), int(str(frame)))

    def question(self, clip: Waveform) -> Turn:
        """Speak a question and hear the whole answer."""
        since = self.mark()
        spoken = self.spoken(self.say(clip))
        return self.answered(since, spoken)

    def typed(self, words: str) -> Turn:
        """Type a question and hear the whole answer."""
        since = self.mark()
        self.page.fill("#words", words)
        self.page.press("#words", "Enter")
        return self.answered(since, None)

    def answered(self, since: int, spoken: Spoken | None) -> Turn:
        """Wait for an answer to end.

        Raises:
            CallError: If there is none, or not a whole one.
        """
        delta = self.wait_for("in:response.output_audio.delta", since)
        done = self.wait_for("in:response.done", since)
        response = event_of(done)["response"]
        assert isinstance(response, dict)
        details = response["status_details"]
        at_limit = isinstance(details, dict) and details.get("reason") == "max_output_tokens"
        if response["status"] != "completed" and not at_limit:  # one cut at its limit is whole too
            raise CallError(f"a reply ended as {response['status']}: {response['status_details']}")
        self.wait_for_state("listening")
        sound = self.sound(since)
        return Turn(spoken, sound, event_of(delta), number_of(delta, "wall"), response)

    def sound(self, since: int) -> Sound:
        """Wait until the player has fallen silent again; a reply with gaps is one sound."""
        self.wait_for("ear:ended", since)
        began = self.of_kind("ear:began", since)
        self.wait_for("ear:ended", since, accept=lambda note: note["frame"] == began[-1]["frame"])
        return join(self.of_kind("ear:ended", since))

    def record(self, is_on: bool = True) -> None:
        """Keep what leaves the player, or no longer."""
        self.page.evaluate("(isOn) => probe.record(isOn)", is_on)

    def recorded(self) -> tuple[Waveform, bool]:
        """Give what was recorded since the last call, and whether no block of it is missing."""
        pieces = self.page.evaluate("() => probe.takeRecorded()")
        found = [np.frombuffer(base64.b64decode(piece["samples"]), np.float32) for piece in pieces]
        ends = [piece["frame"] + len(each) for piece, each in zip(pieces, found, strict=True)]
        starts = [piece["frame"] for piece in pieces]
        return np.concatenate(found or [np.zeros(0, np.float32)]), ends[:-1] == starts[1:]

    def received(self) -> Waveform:
        """Give the last reply's sound as it came from the server."""
        reply = self.page.evaluate("() => probe.lastReply()")
        return np.frombuffer(base64.b64decode(reply["samples"]), np.float32)


def join(ended: Sequence[Note]) -> Sound:
    """Make one sound of the stretches that the ear told of."""
    lengths = [number_of(note, "lastFrame") - number_of(note, "frame") + 1 for note in ended]
    return Sound(
        began_ms=number_of(ended[0], "wall"),
        ended_ms=number_of(ended[-1], "lastWall"),
        n_samples=round(sum(lengths)),
        start_frame=round(number_of(ended[0], "frame")),
    )


def event_of(note: Note) -> dict[str, object]:
    """Give the event that a note is about."""
    event = note["event"]
    assert isinstance(event, dict)
    return event


def number_of(note: Note, name: str) -> float:
    """Give a number of a note."""
    return float(str(note[name]))
