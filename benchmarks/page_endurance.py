"""The rows about what lasts: the long call, a server that dies mid-reply, everybody, other hosts.

Each takes the running page and a browser and gives its figures.
"""

import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from axe_playwright_python.sync_playwright import Axe

from benchmarks.call_driver import (
    MIC_RATE,
    CallDriver,
    CallError,
    Turn,
    event_of,
    number_of,
    synthesise,
)
from benchmarks.page_report import Figure, Row
from benchmarks.page_rows import LONG, QUESTIONS, Setting, describe, median
from benchmarks.running_page import MODEL, PAGE, resident_mb

EVERY_S = 15.0
WARM_UP = 4  # samples of memory that do not count: what is made once is made in the first minute
DRIFT = "drift of the microphone's clock at the server"
AWAY_S = 1.5  # how long a killed server stays away before it is started again
TABS = ("Live call", "Turn by turn", "Developer")
CONTROLS = ("call", "mute", "mode-hands-free", "transcript", "words", "new")


@dataclass(frozen=True)
class Memory:
    """Memory in use after garbage was collected, in MB (10^6 bytes)."""

    js_heap: float
    browser_tab: float
    web_page: float
    model_server: float


class MemoryWatch:
    """Asks the browser and the system for memory."""

    def __init__(self, setting: Setting, tab: CallDriver) -> None:
        self._setting = setting
        self._session = tab.context.new_cdp_session(tab.page)
        self._session.send("Performance.enable")
        self._whole = setting.browser.new_browser_cdp_session()

    def measure(self) -> Memory:
        """Collect garbage and look."""
        self._session.send("HeapProfiler.collectGarbage")
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        heap = next(m["value"] for m in metrics if m["name"] == "JSHeapUsedSize")
        processes = self._whole.send("SystemInfo.getProcessInfo")["processInfo"]
        tabs = [resident_mb(p["id"]) for p in processes if p["type"] == "renderer"]
        page = self._setting.page
        return Memory(heap / 1e6, max(tabs), page.memory_mb(PAGE), page.memory_mb(MODEL))


@dataclass(frozen=True)
class Asked:
    """One question of the long call.

    Attributes:
        words: What was asked.
        turn: Its answer; None if none came.
        offset_ms: Where the server placed its end less where the microphone had it.
        memory: Afterwards.
    """

    words: str
    turn: Turn | None
    offset_ms: float | None
    memory: Memory


def ask_once(tab: CallDriver, watch: MemoryWatch, words: str) -> Asked:
    """Ask a question of the long call."""
    since = tab.mark()
    try:
        turn = tab.question(synthesise(words))
    except CallError:
        return Asked(words, None, None, watch.measure())
    stopped = tab.of_kind("in:input_audio_buffer.speech_stopped", since)
    offset = None
    if stopped and turn.spoken is not None:
        placed_ms = number_of(event_of(stopped[-1]), "audio_end_ms")
        offset = placed_ms - turn.spoken.end_frame * 1000 / MIC_RATE
    return Asked(words, turn, offset, watch.measure())


def drift_ms(asked: Sequence[Asked]) -> float | None:
    """Say how far the offset moved at most from the first round to a later one.

    A round asks each question once: its mean leaves out most of what the detector makes of single
    words, and of where its frames of 32 ms happen to fall.
    """
    n_kinds = len({each.words for each in asked})
    rounds = [asked[first : first + n_kinds] for first in range(0, len(asked), n_kinds)]
    offsets = [[e.offset_ms for e in some if e.offset_ms is not None] for some in rounds]
    means = [statistics.fmean(found) for found in offsets if len(found) == n_kinds]
    return round(max(abs(mean - means[0]) for mean in means), 1) if means else None


def scatter_ms(asked: Sequence[Asked]) -> float | None:
    """Say how far single offsets lie at most from the first of the same words."""
    first: dict[str, float] = {}
    moved = []
    for each in asked:
        if each.offset_ms is not None:
            moved.append(abs(each.offset_ms - first.setdefault(each.words, each.offset_ms)))
    return round(max(moved), 1) if moved else None


def growth_mb(asked: Sequence[Asked], name: str) -> float:
    """Say how much more memory the last questions found than those after the warm-up."""
    values = [float(getattr(each.memory, name)) for each in asked]
    early, late = values[WARM_UP : 2 * WARM_UP] or values[:1], values[-WARM_UP:]
    return round(statistics.fmean(late) - statistics.fmean(early), 2)


def long_call(setting: Setting) -> Row:
    """One call with a question every 15 s."""
    asked: list[Asked] = []
    n_wanted = round(setting.call_minutes * 60 / EVERY_S)
    with setting.open() as tab:
        watch = MemoryWatch(setting, tab)
        tab.start()
        began_at = time.monotonic()
        for number, words in zip(range(n_wanted), itertools.cycle(QUESTIONS[:4]), strict=False):
            due = began_at + number * EVERY_S
            tab.page.wait_for_timeout(max(due - time.monotonic(), 0) * 1000)
            asked.append(ask_once(tab, watch, words))
            setting.say(f"{number + 1} of {n_wanted}: {asked[-1].memory}")
        minutes = (time.monotonic() - began_at) / 60
        stats = tab.ask("stats()")
    assert isinstance(stats, dict)
    return Row("a long call", long_figures(asked, n_wanted, minutes, stats), records_of(asked))


def long_figures(
    asked: Sequence[Asked], n_wanted: int, minutes: float, stats: dict[str, object]
) -> tuple[Figure, ...]:
    """Put the long call into figures."""
    n_answered = sum(each.turn is not None and bool(each.turn.answer) for each in asked)
    delays = [
        each.turn.sound.began_ms - each.turn.spoken.ended_ms
        for each in asked
        if each.turn is not None and each.turn.spoken is not None
    ]
    growth = [
        Figure(f"growth in memory, {name.replace('_', ' ')}, MB", growth_mb(asked, name), 30)
        for name in ("js_heap", "browser_tab", "web_page", "model_server")
    ]
    return (
        Figure("minutes", round(minutes, 2)),
        Figure("questions", n_wanted),
        Figure("answers given", n_answered, least=n_wanted),
        Figure(f"{DRIFT}, worst round, ms", drift_ms(asked), 100),
        Figure("the same, worst single question (the detector's frames in it)", scatter_ms(asked)),
        *growth,
        Figure("end of speech to first sound, first four, median, ms", median(delays[:4])),
        Figure("the same, last four, ms", median(delays[-4:])),
        Figure("underruns", int(str(stats["underruns"]))),
    )


def records_of(asked: Sequence[Asked]) -> tuple[dict[str, object], ...]:
    """Write the questions of the long call down."""
    return tuple(
        {
            "question": each.words,
            "offset_ms": each.offset_ms,
            "memory_mb": vars(each.memory),
            **(describe(each.turn) if each.turn is not None else {"answer": None}),
        }
        for each in asked
    )


def shown(items: Sequence[dict[str, object]]) -> dict[str, str]:
    """Give the words of whole items by id."""
    return {str(i["id"]): str(i["text"]) for i in items if i["status"] == "completed"}


def kept(before: dict[str, str], items: Sequence[dict[str, object]]) -> int:
    """Count the items that are still there with the same words."""
    now = {str(i["id"]): str(i["text"]) for i in items}
    return sum(now.get(key) == text for key, text in before.items())


def restart(setting: Setting) -> Row:
    """Kill the page's server mid-reply and start it again; then the model server."""
    with setting.open() as tab:
        tab.start()
        tab.question(synthesise(QUESTIONS[0]))
        tab.question(synthesise(QUESTIONS[1]))
        before = shown(tab.items())
        since = begin_reply(tab)
        setting.page.kill(PAGE)
        tab.wait_for_state("reconnecting")
        tab.page.wait_for_timeout(AWAY_S * 1000)
        setting.say("the page's server was killed and starts again")
        back_ms = setting.page.start(PAGE) * 1000
        opened = tab.wait_for("in:session.created", since)
        tab.wait_for_state("listening")
        away_s = max(number_of(opened, "wall") - back_ms, 0) / 1000
        in_page, on_server = kept(before, tab.items()), kept(before, tab.stored_items())
        n_after = len(tab.question(synthesise(QUESTIONS[2])).answer)
        model = restart_model(setting, tab)
    figures = (
        Figure("page's server: back to reconnected, s", round(away_s, 2), 5),
        Figure(f"items of {len(before)} still shown", in_page, least=len(before)),
        Figure(f"items of {len(before)} still known to the server", on_server, least=len(before)),
        Figure("next question answered", int(n_after > 0), least=1),
        *model,
    )
    return Row("server killed and restarted mid-reply", figures)


def begin_reply(tab: CallDriver) -> int:
    """Ask for a long reply and wait until it sounds."""
    since = tab.mark()
    tab.page.fill("#words", LONG)
    tab.page.press("#words", "Enter")
    tab.wait_for("ear:began", since)
    tab.page.wait_for_timeout(300)
    return tab.mark()


def restart_model(setting: Setting, tab: CallDriver) -> tuple[Figure, ...]:
    """Kill the model server mid-reply; the call itself stays."""
    before = shown(tab.items())
    since = begin_reply(tab)
    setting.page.kill(MODEL)
    tab.wait_for("in:response.done", since)
    setting.say("the model server was killed and starts again")
    setting.page.start(MODEL)
    tab.wait_for_state("listening")
    turn = tab.question(synthesise(QUESTIONS[3]))
    n_kept = kept(before, tab.items())
    return (
        Figure("model server: next question answered", int(bool(turn.answer)), least=1),
        Figure(f"model server: items of {len(before)} still shown", n_kept, least=len(before)),
    )


def violations(tab: CallDriver) -> list[dict[str, object]]:
    """Let axe-core look at the whole page as it stands."""
    found = Axe().run(tab.page).response["violations"]
    return [
        {"id": v["id"], "impact": v["impact"], "nodes": [n["html"][:160] for n in v["nodes"]]}
        for v in found
    ]


def reached_by_tab(tab: CallDriver, n_presses: int = 120) -> set[str]:
    """Press Tab again and again; gives the ids of what had the focus."""
    focused = (
        "() => { let e = document.activeElement;"
        " while (e && e.shadowRoot && e.shadowRoot.activeElement) e = e.shadowRoot.activeElement;"
        " return e ? e.id : ''; }"
    )
    found = set()
    for _ in range(n_presses):
        tab.page.keyboard.press("Tab")
        found.add(str(tab.page.evaluate(focused)))
    return found


def accessibility(setting: Setting) -> Row:
    """Every tab of the page, light and dark, before and in a call, through axe-core."""
    records: list[dict[str, object]] = []
    reached: set[str] = set()
    for scheme in ("light", "dark"):
        with setting.open(color_scheme=scheme, reduced_motion="reduce") as tab:
            tab.start()
            tab.typed(QUESTIONS[0])
            reached |= reached_by_tab(tab)
            for name in TABS:
                tab.page.get_by_role("tab", name=name).click()
                tab.page.wait_for_timeout(800)
                for found in violations(tab):
                    records.append({"where": f"{name}, {scheme}", **found})
                setting.say(f"{name}, {scheme}: {len(records)} violations so far")
    serious = [r for r in records if r["impact"] in ("serious", "critical")]
    missed = [name for name in CONTROLS if name not in reached]
    figures = (
        Figure("violations found by axe-core", len(records), 0),
        Figure("of these serious or critical", len(serious), 0),
        Figure("controls of the call not reached by Tab", len(missed), 0),
    )
    records += [{"not_reached": name} for name in missed]
    return Row("accessibility, three tabs, light and dark", figures, tuple(records))


def other_hosts(setting: Setting) -> Row:
    """A call, all tabs and a reload; every address that the page asked for."""
    with setting.open() as tab:
        tab.start()
        tab.typed(QUESTIONS[0])
        for name in TABS:
            tab.page.get_by_role("tab", name=name).click()
            tab.page.wait_for_timeout(500)
        tab.open()
        tab.page.wait_for_timeout(1000)
        mine = (tab.url, tab.url.replace("http", "ws", 1), "data:", "blob:")
        strangers = [url for url in tab.requests if not url.startswith(mine)]
        n_requests = len(tab.requests)
    figures = (
        Figure("requests to other hosts", len(strangers), 0),
        Figure("requests", n_requests),
    )
    return Row("requests to other hosts", figures, tuple({"url": url} for url in strangers))
