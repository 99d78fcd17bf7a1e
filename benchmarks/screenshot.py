"""Take the picture of the page with an answered question: `python benchmarks/screenshot.py`.

Starts the demo (or uses the one at --url), asks questions in headless Chromium, and
writes resources/screenshot.png. Needs playwright, Chromium and espeak-ng.
"""

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from antiphon.launcher import Child, Service, wait_until_ready

REPOSITORY = Path(__file__).resolve().parents[1]
SPOKEN = "What is three plus four?"
TYPED = ("What is the capital of France?",)
PATIENCE_MS = 120_000
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="address of a running page; without it one is started")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "resources" / "screenshot.png")
    parser.add_argument("--width", type=int, default=1180)
    parser.add_argument("--height", type=int, default=860)
    parser.add_argument("--ask", default=SPOKEN, help="the question that is spoken")
    parser.add_argument("--voice", default="en-us", help="espeak-ng voice that speaks it")
    parser.add_argument("--type", nargs="*", default=TYPED, help="questions typed afterwards")
    return parser.parse_args(argv)


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_demo(url: str | None, folder: Path) -> Iterator[str]:
    """Give the address of a running page; starts model server and page where `url` is None."""
    if url is not None:
        yield url
        return
    ports = ("--port", str(free_port()), "--server-port", str(free_port()))
    url = f"http://localhost:{ports[1]}"
    command = (sys.executable, "-m", "antiphon", "demo", *ports)
    with Child(Service("demo", command, url), folder / "demo.log") as demo:
        wait_until_ready([demo], threading.Event())
        yield url


def speak(words: str, voice: str, folder: Path) -> Path:
    """Write a spoken question as a wav file."""
    path = folder / "question.wav"
    subprocess.run(["espeak-ng", "-v", voice, "-w", str(path), words], check=True)
    return path


def wait_for_answer(page: Page, n_bubbles: int) -> None:
    """Wait until the conversation has so many bubbles and the last is complete."""
    page.wait_for_function(
        "n => document.querySelectorAll('#chat .message-row').length >= n", arg=n_bubbles
    )
    page.wait_for_selector("#status .state.done")


def converse(page: Page, clip: Path, typed: Sequence[str]) -> None:
    """Upload the spoken question, then type the others."""
    page.get_by_role("tab", name="Turn by turn").click()
    page.wait_for_selector("#mic button.record")
    page.click("#mic .source-selection button >> nth=0")
    with page.expect_response(lambda response: "/upload" in response.url):
        page.set_input_files("#mic input[type=file]", str(clip))
    page.wait_for_timeout(1000)
    page.click("#send")
    wait_for_answer(page, 2)
    for number, words in enumerate(typed, start=2):
        page.fill("#text textarea", words)
        page.press("#text textarea", "Enter")
        page.wait_for_selector("#status .state.busy")
        wait_for_answer(page, 2 * number)


def take_picture(url: str, clip: Path, options: argparse.Namespace) -> None:
    """Hold the conversation and write the picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=list(FLAGS),
            ignore_default_args=["--headless"],
        )
        size = {"width": options.width, "height": options.height}
        page = browser.new_page(viewport=size, locale="en-US", device_scale_factor=1.5)
        page.set_default_timeout(PATIENCE_MS)
        page.goto(url)
        converse(page, clip, options.type)
        page.click("#mic .source-selection button >> nth=1")  # back to the microphone
        page.mouse.move(0, 0)
        page.wait_for_timeout(1500)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=options.out)
        browser.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Make the picture; returns the exit status."""
    options = parse_arguments(argv)
    with tempfile.TemporaryDirectory(prefix="antiphon-picture-") as name:
        folder = Path(name)
        clip = speak(options.ask, options.voice, folder)
        with running_demo(options.url, folder) as url:
            take_picture(url, clip, options)
    sys.stdout.write(f"{options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
