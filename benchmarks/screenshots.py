"""Take the pictures of the page for the documents: `python -m benchmarks.screenshots`.

Starts the two programs of `antiphon demo`, holds calls in headless Chromium and writes
resources/page-*.png and resources/call.gif. Needs playwright, Pillow, Chromium, espeak-ng and a
font with Chinese characters (fonts-wqy-zenhei).
"""

import argparse
import io
import itertools
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from benchmarks.call_driver import CallDriver, open_browser, synthesise
from benchmarks.running_page import PAGE, RunningPage, running_page

RESOURCES = Path(__file__).resolve().parents[1] / "resources"
FIRST = "what is three plus four"
SECOND = "what is the capital of France"
THIRD = "count from one to eleven"
SIZE = {"width": 1180, "height": 900}
FILM_SIZE = {"width": 1180, "height": 760}
FILM_COLOURS = 160
N_PALETTE_FRAMES = 12
FRAME_MS = 125  # a picture of the film at most so often
LAST_FRAME_MS = 2500


@dataclass(frozen=True)
class Studio:
    """What pictures are taken with.

    Attributes:
        page: The two programs.
        browser: Chromium.
        patience_s: How long anything may take.
        folder: Where pictures go.
    """

    page: RunningPage
    browser: Browser
    patience_s: float
    folder: Path

    def open(self, **options: object) -> CallDriver:
        """Open a tab."""
        options = {"viewport": SIZE, "device_scale_factor": 1.5, **options}
        return CallDriver(self.browser, self.page.url, patience_s=self.patience_s, **options)

    def shoot(self, tab: CallDriver, name: str) -> None:
        """Write a picture."""
        tab.page.mouse.move(0, 0)
        tab.page.wait_for_timeout(700)
        path = self.folder / f"page-{name}.png"
        data = io.BytesIO(tab.page.screenshot(animations="disabled"))
        with Image.open(data) as image:
            picture = image.convert("RGB")
            palette = picture.quantize(256, method=Image.Quantize.MEDIANCUT)
            picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(
                path, optimize=True
            )
        sys.stdout.write(f"{path} {path.stat().st_size // 1000} kB\n")


def talk(tab: CallDriver, *questions: str) -> None:
    """Begin a call and hear answers out."""
    tab.start()
    for words in questions:
        tab.question(synthesise(words))


def live(studio: Studio) -> None:
    """A call with answered questions, and the same conversation in the other tab."""
    with studio.open() as tab:
        talk(tab, FIRST, SECOND)
        studio.shoot(tab, "live")
        tab.page.click("#call")
        tab.wait_for_state("idle")
        tab.page.get_by_role("tab", name="Turn by turn").click()
        tab.page.fill("#text textarea", "What comes after Monday?")
        tab.page.press("#text textarea", "Enter")
        tab.page.wait_for_selector("#status .state.busy")
        tab.page.wait_for_selector("#status .state.done")
        tab.page.wait_for_timeout(2500)
        studio.shoot(tab, "turns")
        tab.page.get_by_role("tab", name="Developer").click()
        tab.page.wait_for_timeout(1500)
        studio.shoot(tab, "developer")


def chinese(studio: Studio) -> None:
    """The page as a Chinese browser shows it."""
    with studio.open(locale="zh-CN") as tab:
        talk(tab, FIRST)
        studio.shoot(tab, "chinese")


def phone(studio: Studio) -> None:
    """A phone."""
    size = {"width": 390, "height": 844}
    options = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    with studio.open(viewport=size, **options) as tab:
        talk(tab, FIRST)
        studio.shoot(tab, "phone")


def dark(studio: Studio) -> None:
    """In the dark, while the reply is heard."""
    with studio.open(color_scheme="dark") as tab:
        talk(tab, FIRST)
        since = tab.mark()
        tab.say(synthesise(THIRD))
        tab.wait_for("ear:began", since)
        tab.page.wait_for_timeout(1500)
        studio.shoot(tab, "dark")


def error(studio: Studio) -> None:
    """A server that went away during a call; it is started again."""
    with studio.open() as tab:
        talk(tab, FIRST)
        studio.page.kill(PAGE)
        tab.wait_for_state("reconnecting")
        studio.shoot(tab, "error")
        studio.page.start(PAGE)


@dataclass(frozen=True)
class Frame:
    """One picture of the film, and when it was taken in ms."""

    image: Image.Image
    at_ms: float


def watch(tab: CallDriver, frames: list[Frame], until: Callable[[], bool]) -> None:
    """Take pictures until something has happened."""
    while not until():
        began = time.monotonic()
        data = tab.page.screenshot(type="png")
        frames.append(Frame(Image.open(io.BytesIO(data)).convert("RGB"), began * 1000))
        tab.page.wait_for_timeout(max(FRAME_MS - (time.monotonic() - began) * 1000, 1))
        tab.drain()


def film(studio: Studio) -> None:
    """A short call in motion: a question, its answer, an interruption, another answer."""
    frames: list[Frame] = []
    with studio.open(viewport=FILM_SIZE, device_scale_factor=1) as tab:
        tab.start()
        tab.question(synthesise("what is your name"))  # the first opens what is opened once
        tab.page.click("#new")  # the page has its own button for it
        tab.wait_for_state("listening")
        tab.page.wait_for_timeout(500)
        for question, after_ms in ((THIRD, 2500.0), (SECOND, 0.0)):
            since = tab.mark()
            tab.say(synthesise(question))
            watch(tab, frames, lambda since=since: bool(tab.of_kind("ear:began", since)))
            if after_ms:
                end = time.monotonic() + after_ms / 1000
                watch(tab, frames, lambda end=end: time.monotonic() > end)
            else:
                watch(tab, frames, lambda since=since: len(tab.of_kind("ear:ended", since)) > 1)
    write_film(frames, studio.folder / "call.gif")


def palette_of(images: Sequence[Image.Image]) -> Image.Image:
    """Choose colours that are anywhere in a film: its states differ by theirs."""
    chosen = images[:: max(1, len(images) // N_PALETTE_FRAMES)]
    width, height = chosen[0].size
    strip = Image.new("RGB", (width, height * len(chosen)))
    for number, image in enumerate(chosen):
        strip.paste(image, (0, number * height))
    return strip.quantize(FILM_COLOURS, method=Image.Quantize.MAXCOVERAGE)


def write_film(frames: Sequence[Frame], path: Path) -> None:
    """Write pictures as an animated GIF with one palette; equal neighbours become one."""
    palette = palette_of([frame.image for frame in frames])
    images, times = [], []
    for frame in frames:
        image = frame.image.quantize(palette=palette, dither=Image.Dither.NONE)
        if images and image.tobytes() == images[-1].tobytes():
            continue
        images.append(image)
        times.append(frame.at_ms)
    durations = [round(after - before) for before, after in itertools.pairwise(times)]
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        duration=[*durations, LAST_FRAME_MS],
        loop=0,
        optimize=False,
        disposal=1,
    )
    seconds = sum(durations) / 1000
    size = path.stat().st_size // 1000
    sys.stdout.write(f"{path} {size} kB, {len(images)} frames, {seconds:.1f} s\n")


PICTURES: Mapping[str, Callable[[Studio], None]] = {
    "live": live,
    "chinese": chinese,
    "phone": phone,
    "dark": dark,
    "film": film,
    "error": error,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Take the pictures; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES))
    parser.add_argument("--out", type=Path, default=RESOURCES, help="folder of the pictures")
    parser.add_argument("--patience-s", type=float, default=60, help="how long anything may take")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM):  # so that both programs are ended, too
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="antiphon-pictures-"))
        page = stack.enter_context(running_page(Path(folder)))
        for name in options.only:
            with open_browser() as browser:
                PICTURES[name](Studio(page, browser, options.patience_s, options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
