"""The rows that need one short call each: first sound, smoothness, interruption, answer, echo.

Each takes the running page and a browser and gives its figures.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from playwright.sync_api import Browser

from antiphon.audio import Waveform, resample
from antiphon.dialogue.vad import VAD_RATE, SileroDetector
from antiphon.realtime.barge_in_trial import EchoPath, run_trial
from benchmarks.call_driver import (
    RATE,
    CallDriver,
    CallError,
    Note,
    Turn,
    event_of,
    join,
    number_of,
    synthesise,
)
from benchmarks.page_report import Figure, Row
from benchmarks.running_page import RunningPage

QUESTIONS = (
    "what is three plus four",
    "what is the capital of France",
    "count from one to eleven",
    "which day is after Monday",
    "what is the opposite of hot",
    "what is your name",
    "what is twenty minus five",
    "what comes before May",
)
LONG = "count from one to eleven"  # the longest kind of answer that the embedded model gives
INTERRUPTION = "what is three plus four"
FADE = RATE * 8 // 1000
ECHO_DB = -12.0


@dataclass(frozen=True)
class Setting:
    """What a row is measured with.

    Attributes:
        page: The two programs.
        browser: Chromium.
        n_turns: Questions of the rows that ask several.
        echo_s: Sound of replies that is fed back.
        call_minutes: Length of the long call.
        patience_s: How long to wait for anything.
        say: Told of the progress.
    """

    page: RunningPage
    browser: Browser
    n_turns: int
    echo_s: float
    call_minutes: float
    patience_s: float
    say: Callable[[str], None]

    def open(self, **options: object) -> CallDriver:
        """Open a tab of its own: a conversation of its own."""
        options = {"patience_s": self.patience_s, **options}
        return CallDriver(self.browser, self.page.url, **options)  # type: ignore[arg-type]


def worst(values: Sequence[float]) -> float | None:
    """Give the highest, rounded."""
    return round(max(values), 1) if values else None


def median(values: Sequence[float]) -> float | None:
    """Give the middle, rounded."""
    return round(statistics.median(values), 1) if values else None


def describe(turn: Turn) -> dict[str, object]:
    """Write a turn down; times are ms after the question's end where it was spoken."""
    found: dict[str, object] = {
        "answer": turn.answer,
        "sent_to_page_ms": round(turn.first_delta_ms - turn.sent_ms, 1),
        "sent_to_sound_ms": round(turn.sound.began_ms - turn.sent_ms, 1),
        "audio_ms": round(turn.sound.ms, 1),
        "server": turn.response.get("antiphon"),
    }
    if turn.spoken is not None:
        found["end_to_sound_ms"] = round(turn.sound.began_ms - turn.spoken.ended_ms, 1)
    return found


def first_sound(setting: Setting) -> Row:
    """From the server's sending the first sound to the first sample in the page's graph."""
    records = []
    with setting.open() as tab:
        tab.start()
        tab.typed(QUESTIONS[0])  # opens what is opened once
        for number in range(setting.n_turns):
            turn = tab.typed(QUESTIONS[number % len(QUESTIONS)])
            records.append(describe(turn))
            setting.say(f"{number + 1} of {setting.n_turns}: {records[-1]['sent_to_sound_ms']} ms")
    delays = [float(str(record["sent_to_sound_ms"])) for record in records]
    figures = (
        Figure("server's first sound to first sample in the graph, worst, ms", worst(delays), 60),
        Figure("the same, median, ms", median(delays)),
        Figure("replies", len(delays)),
    )
    return Row("first sample after the server's first audio", figures, tuple(records))


@dataclass(frozen=True)
class Compared:
    """A reply as it was played beside the reply as it came.

    Attributes:
        n_lost: Samples of the reply that were not played, or not in their place.
        step_excess: How much larger its largest step is than the source's.
        deviation: Largest difference to the source with the player's fades.
    """

    n_lost: int
    step_excess: float
    deviation: float


def compare(played: Waveform, source: Waveform) -> Compared:
    """Lay a captured reply over its source, faded as the player does."""
    count = np.arange(len(source))
    gain = np.minimum(1, (count + 1) / FADE)
    gain = np.minimum(gain, (len(source) - 1 - count) / FADE)
    faded = (source * gain).astype(np.float32)
    heard, meant = np.flatnonzero(played), np.flatnonzero(faded)
    if not len(heard) or not len(meant):
        return Compared(len(meant), 0.0, 1.0)
    start = heard[0] - meant[0]
    laid = np.zeros_like(faded)
    piece = played[max(start, 0) : start + len(faded)]
    laid[max(-start, 0) : max(-start, 0) + len(piece)] = piece
    wrong = np.abs(laid - faded) > 1e-4
    steps = [float(np.abs(np.diff(each)).max()) for each in (played, source)]
    return Compared(int(wrong.sum()), steps[0] - steps[1], float(np.abs(laid - faded).max()))


def smoothness(setting: Setting) -> Row:
    """Gaps, underruns and clicks in replies captured sample by sample."""
    records = []
    n_blocks_lost = 0
    with setting.open() as tab:
        tab.start()
        tab.record()
        for number in range(setting.n_turns):
            turn = tab.typed(LONG if number % 2 else QUESTIONS[number % len(QUESTIONS)])
            played, has_all = tab.recorded()
            n_blocks_lost += not has_all
            found = compare(played, tab.received())
            records.append({**describe(turn), **vars(found), "has_all": has_all})
            setting.say(f"{number + 1} of {setting.n_turns}: {found.n_lost} samples lost")
        stats = tab.ask("stats()")
    assert isinstance(stats, dict)
    excess = [float(str(record["step_excess"])) for record in records]
    figures = (
        Figure("underruns", int(stats["underruns"]), 0),
        Figure("samples not played in their place", sum(int(str(r["n_lost"])) for r in records), 0),
        Figure("largest step beyond the source's, full scale", round(max(excess), 6), 0),
        Figure("replies captured with a block missing in the capture", n_blocks_lost, 0),
        Figure(
            "seconds captured", round(sum(float(str(r["audio_ms"])) for r in records) / 1000, 1)
        ),
    )
    return Row("gaps and clicks in captured replies", figures, tuple(records))


def interrupt(tab: CallDriver, clip: Waveform, after_ms: float) -> dict[str, float | None]:
    """Let a long reply begin, speak into it, and time what happens.

    Raises:
        CallError: If the reply is not stopped.
    """
    tab.recorded()
    n_underruns = count_underruns(tab)
    since = tab.mark()
    tab.page.fill("#words", LONG)
    tab.page.press("#words", "Enter")
    tab.wait_for("ear:began", since)
    tab.page.wait_for_timeout(after_ms)
    spoken_since = tab.mark()
    number = tab.say(clip)
    spoken = tab.spoken(number)
    started = tab.wait_for("in:input_audio_buffer.speech_started", spoken_since)
    cut = tab.wait_for("out:conversation.item.truncate", spoken_since)
    reported_ms = number_of(event_of(cut), "audio_end_ms")
    stretches = [n for n in tab.of_kind("ear:began", since) if n["wall"] <= cut["wall"]]
    last = stretches[-1]["frame"]
    sound = join([tab.wait_for("ear:ended", since, accept=lambda note: note["frame"] == last)])
    played, has_all = tab.recorded()
    detected_ms = number_of(started, "wall")
    tab.wait_for("in:response.done", spoken_since, accept=lambda n: is_whole(n, spoken.ended_ms))
    tab.wait_for_state("listening")
    tab.page.wait_for_timeout(400)
    item = next(i for i in tab.items() if i["id"] == event_of(cut)["item_id"])
    has_no_gap = len(stretches) == 1 and count_underruns(tab) == n_underruns
    is_whole_capture = has_all and has_no_gap
    return {
        "speech_to_detection_ms": detected_ms - spoken.began_ms,
        "detection_to_silence_ms": sound.ended_ms - detected_ms,
        "speech_to_silence_ms": sound.ended_ms - spoken.began_ms,
        "client_heard_ms": reported_ms,
        "captured_ms": captured_ms(played) if is_whole_capture else None,
        "history_heard_ms": None if item["heard_ms"] is None else number_of(item, "heard_ms"),
    }


def count_underruns(tab: CallDriver) -> object:
    """Ask how often the player ran dry so far: gaps are captured, but are no sound of the reply."""
    stats = tab.ask("stats()")
    return stats["underruns"] if isinstance(stats, dict) else None


def is_whole(note: Note, after_ms: float) -> bool:
    """Tell whether a `response.done` is that of a whole reply, and came after a time."""
    response = event_of(note)["response"]
    is_completed = isinstance(response, dict) and response["status"] == "completed"
    return is_completed and number_of(note, "wall") > after_ms


def captured_ms(played: Waveform) -> float:
    """Give the length of the first sound of a recording, up to a quarter of a second of zeros."""
    loud = np.flatnonzero(played)
    gaps = np.flatnonzero(np.diff(loud) > RATE // 4)
    last = loud[gaps[0]] if len(gaps) else loud[-1]
    return float(last - loud[0] + 1) * 1000 / RATE


def interruption(setting: Setting) -> Row:
    """Barge-in: speech over a reply, to detection, to silence, to what the history keeps."""
    clip = synthesise(INTERRUPTION)
    records: list[dict[str, float | None]] = []
    errors = []
    with setting.open() as tab:
        tab.start()
        tab.record()
        for number in range(setting.n_turns):
            try:
                records.append(interrupt(tab, clip, 900 + 170 * (number % 5)))
            except CallError as error:
                errors.append(str(error))
                tab.ask("stop()")
                tab.page.wait_for_timeout(3000)
                continue
            silence = records[-1]["speech_to_silence_ms"]
            setting.say(f"{number + 1} of {setting.n_turns}: silent after {silence:.0f} ms")
    apart = [
        abs(r["client_heard_ms"] - r["captured_ms"])
        for r in records
        if r["client_heard_ms"] is not None and r["captured_ms"] is not None
    ]
    off_grid = [
        abs(r["client_heard_ms"] - r["history_heard_ms"])
        for r in records
        if r["client_heard_ms"] is not None and r["history_heard_ms"] is not None
    ]
    if not records:
        raise CallError(errors[0])
    columns = {name: [r[name] for r in records if r[name] is not None] for name in records[0]}
    figures = (
        Figure("detection to silence, worst, ms", worst(columns["detection_to_silence_ms"]), 60),
        Figure("the same, median, ms", median(columns["detection_to_silence_ms"])),
        Figure("speech to silence, worst, ms", worst(columns["speech_to_silence_ms"]), 300),
        Figure("the same, median, ms", median(columns["speech_to_silence_ms"])),
        Figure("client's heard length to captured length, worst, ms", worst(apart), 30),
        Figure("history's cut to client's heard length, worst, ms", worst(off_grid), 80),
        Figure("interruptions that stopped the reply", len(records), least=setting.n_turns),
    )
    error = f"{len(errors)} failed, first: {errors[0]}" if errors else None
    return Row("interruption", figures, tuple(records), error)


def answer(setting: Setting) -> Row:
    """The whole loop: end of a spoken question to the first sound of its answer."""
    records = []
    with setting.open() as tab:
        tab.start()
        tab.question(synthesise(QUESTIONS[0]))  # the first opens what is opened once
        for number in range(setting.n_turns):
            words = QUESTIONS[number % len(QUESTIONS)]
            turn = tab.question(synthesise(words))
            records.append({"question": words, **describe(turn)})
            setting.say(f"{number + 1} of {setting.n_turns}: {records[-1]['end_to_sound_ms']} ms")
    delays = [float(str(record["end_to_sound_ms"])) / 1000 for record in records]
    figures = (
        Figure("end of speech to first sound, worst, s", round(max(delays), 3), 1.4),
        Figure("the same, median, s", round(statistics.median(delays), 3)),
        Figure("questions", len(delays)),
    )
    return Row("end of speech to first sound, whole loop", figures, tuple(records))


def echo(setting: Setting) -> Row:
    """The reply's own sound comes back through the microphone, quieter; nobody else speaks."""
    n_false, played_ms, n_replies = 0, 0.0, 0
    began_at = time.monotonic()
    with setting.open(echo_db=ECHO_DB) as tab:
        tab.start()
        tab.record()
        while played_ms < setting.echo_s * 1000:
            since = tab.mark()
            tab.page.fill("#words", LONG)
            tab.page.press("#words", "Enter")
            played_ms += tab.sound(since).ms
            n_replies += 1
            tab.wait_for("in:response.done", since)
            tab.wait_for_state("listening", "interrupted")
            tab.page.wait_for_timeout(300)
            tab.drain()
            n_false += len(tab.of_kind("in:input_audio_buffer.speech_started", since))
            setting.say(f"{played_ms / 1000:.0f} of {setting.echo_s:.0f} s, {n_false} false")
            if time.monotonic() - began_at > 20 * setting.echo_s + 120:
                raise CallError(f"only {played_ms / 1000:.0f} s of replies were played in time")
        replies, _ = tab.recorded()
    trial = run_trial(SileroDetector(), resample(replies, RATE, VAD_RATE), EchoPath(ECHO_DB))
    per_minute = round(n_false * 60_000 / played_ms, 2)
    figures = (
        Figure("false interruptions a minute of the reply fed back", per_minute, 1),
        Figure("seconds of replies fed back 12 dB lower", round(played_ms / 1000, 1)),
        Figure("replies", n_replies),
        Figure("the same sound through the turn taking alone, a room of noise", trial.n_false, 1),
    )
    return Row("false interruptions by the reply's own sound", figures)
