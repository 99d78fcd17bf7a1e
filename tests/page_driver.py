"""A headless browser with a fake microphone and a tap on whatever the page plays."""

import base64
import io
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, sync_playwright

from antiphon.audio import pcm16_to_float, read_audio, resample, write_wav
from tests.programs import find_espeak

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
MIC_RATE = 48_000
PATIENCE_S = 90.0  # nothing takes this long but on a machine that is starved
BLOCK = 128  # samples that an audio worklet gets at once
QUIET = 0.001  # a block with no sample above this is silence

# Every media element that plays is sent through a worklet which hands its samples over, so that a
# test can ask what was heard.
TAP = (
    f"const QUIET = {QUIET};"
    + """
(() => {
  const code = `registerProcessor('tap', class extends AudioWorkletProcessor {
    process(inputs) {
      const block = inputs[0][0];
      if (block && block.some((sample) => Math.abs(sample) > ${QUIET})) {
        this.port.postMessage(block.slice());
      }
      return true;
    }
  })`;
  const tap = window.tap = { blocks: [], rate: 0 };
  const seen = new WeakSet();
  const context = new AudioContext();
  tap.rate = context.sampleRate;
  const module = URL.createObjectURL(new Blob([code], { type: 'text/javascript' }));
  const ready = context.audioWorklet.addModule(module);
  const listen = async (element) => {
    if (seen.has(element)) return;
    seen.add(element);
    const source = context.createMediaElementSource(element);
    await ready;
    const node = new AudioWorkletNode(context, 'tap');
    node.port.onmessage = (message) => tap.blocks.push(message.data);
    source.connect(node).connect(context.destination);
  };
  document.addEventListener('play', (event) => listen(event.target), true);
  const play = HTMLMediaElement.prototype.play;  // players in a shadow tree send no event out
  HTMLMediaElement.prototype.play = function () { listen(this); return play.call(this); };
  tap.take = () => {
    const blocks = tap.blocks.splice(0);
    const samples = new Int16Array(blocks.length * 128);
    blocks.forEach((block, n) => samples.set(block.map((sample) => sample * 32767), n * 128));
    const bytes = new Uint8Array(samples.buffer);
    let text = '';
    for (const byte of bytes) text += String.fromCharCode(byte);
    return { samples: btoa(text), rate: tap.rate };
  };
})();
"""
)


@dataclass(frozen=True)
class Heard:
    """What could be heard, without the silence around and within.

    Attributes:
        waveform: (n_samples,) at `rate` Hz.
        rate: Sample rate in Hz.
    """

    waveform: np.ndarray
    rate: int

    @property
    def audible_s(self) -> float:
        """Seconds of sound."""
        return len(self.waveform) / self.rate


def find_chromium() -> str:
    """Give the path of the browser; skips the test where there is none."""
    named = os.environ.get("ANTIPHON_CHROMIUM")
    for name in (named, "chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name) if name else None
        if found:
            return found
    pytest.skip("needs Chromium: install the package chromium or set ANTIPHON_CHROMIUM")


def make_question(folder: Path, words: str, voice: str = "en-us") -> Path:
    """Write a spoken question for the fake microphone, which plays it over and over."""
    spoken = folder / "spoken.wav"
    subprocess.run([find_espeak(), "-v", voice, "-w", str(spoken), words], check=True, timeout=120)
    waveform = read_audio(spoken, MIC_RATE)
    pause = np.zeros(MIC_RATE // 2, np.float32)
    path = folder / "microphone.wav"
    write_wav(path, np.concatenate([pause, waveform, pause]), MIC_RATE)
    return path


@contextmanager
def open_browser(microphone: Path) -> Iterator[Browser]:
    """Start Chromium with a sound file as its microphone."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(),
            args=[*FLAGS, f"--use-file-for-fake-audio-capture={microphone}"],
            ignore_default_args=["--mute-audio", "--headless"],
        )
        try:
            yield browser
        finally:
            browser.close()


class PageDriver:
    """Does what a person does on the page, and listens."""

    def __init__(self, browser: Browser, url: str, **context: object) -> None:
        self.context = browser.new_context(permissions=["microphone"], **context)
        self.context.set_default_timeout(PATIENCE_S * 1000)
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.add_init_script(TAP)
        self.page.goto(url)
        self.page.get_by_role("tab", name=re.compile("Turn by turn|逐轮对话")).click()
        self.page.wait_for_selector("#send")
        self.page.wait_for_selector("#mic button.record")

    def type(self, words: str) -> None:
        """Type a question and press Enter."""
        self.page.fill("#text textarea", words)
        self.page.press("#text textarea", "Enter")

    def record(self, seconds: float) -> None:
        """Record from the microphone, stop, send."""
        self.page.click("#mic button.record")
        self.page.wait_for_selector("#mic .stop-button:visible")
        self.page.wait_for_timeout(seconds * 1000)
        with self.page.expect_response(lambda response: "/upload" in response.url):
            self.page.click("#mic .stop-button:visible")
        self.page.wait_for_timeout(500)
        self.page.click("#send")

    def upload(self, path: Path) -> None:
        """Choose a file in place of the microphone, send."""
        self.page.click("#mic button[aria-label='Upload file']")
        with self.page.expect_response(lambda response: "/upload" in response.url):
            self.page.locator("#mic input[type=file]").set_input_files(path)
        self.page.wait_for_timeout(500)
        self.page.click("#send")

    def limit_tokens(self, most: int, *, is_open: bool = False) -> None:
        """Set the longest reply in the settings, which are opened unless they are open."""
        if not is_open:
            self.page.locator("#settings > button").click()
        self.page.fill("#max-tokens input[type=number]", str(most))
        self.page.press("#max-tokens input[type=number]", "Tab")

    def wait_for_state(self, mood: str, timeout_s: float = PATIENCE_S) -> str:
        """Wait for the status line to be in a mood; returns its words."""
        line = self.page.wait_for_selector(f"#status .state.{mood}", timeout=timeout_s * 1000)
        return line.inner_text()

    def wait_for_text(self, words: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait for words to stand in the conversation."""
        self.page.locator("#chat").get_by_text(words).last.wait_for(timeout=timeout_s * 1000)

    def bubbles(self) -> list[str]:
        """Give the text of every bubble."""
        return self.page.locator("#chat .message-row").all_inner_texts()

    def n_players(self) -> int:
        """Count the clips that can be replayed in the conversation."""
        return self.page.locator("#chat .minimal-audio-player").count()

    def wait_for_sound(self) -> None:
        """Wait until something can be heard."""
        self.page.wait_for_function("() => tap.blocks.length > 0")

    def wait_until_played(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the player of the reply has reached its end."""
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('#player audio')].some(a => a.ended)",
            timeout=timeout_s * 1000,
        )
        self.page.wait_for_timeout(150)

    def heard(self) -> Heard:
        """Take what was played since the last call."""
        taken = self.page.evaluate("() => tap.take()")
        samples = np.frombuffer(base64.b64decode(taken["samples"]), np.int16)
        return Heard(pcm16_to_float(samples), int(taken["rate"]))

    def last_clip(self) -> Heard:
        """Fetch the newest clip of the conversation, as a click on its download button would."""
        link = self.page.locator("#chat a.download-link").last.get_attribute("href")
        answer = self.page.request.get(link)
        assert answer.ok, f"{link}: {answer.status}"
        waveform, rate = soundfile.read(io.BytesIO(answer.body()), dtype="float32")
        waveform = resample(waveform, rate, MIC_RATE)
        blocks = waveform[: len(waveform) // BLOCK * BLOCK].reshape(-1, BLOCK)
        return Heard(blocks[np.abs(blocks).max(axis=1) > QUIET].ravel(), MIC_RATE)

    def other_hosts(self, url: str) -> list[str]:
        """Give the requests that went anywhere but to the page's own server."""
        mine = (url, "data:", "blob:")
        return [request for request in self.requests if not request.startswith(mine)]

    def close(self) -> None:
        """Close the tab."""
        self.context.close()
