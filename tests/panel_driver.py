"""Drives the live call in a real browser and taps what its worklets put out, block by block."""

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.page_driver import FLAGS, find_chromium

PATIENCE_S = 90.0  # nothing takes this long but on a machine that is starved
BLOCK = 128
STRANGE_HOST = "antiphon.test"  # leads to this machine, but is neither localhost nor https

# Every state that the call was in, so that one that passes quickly is not missed.
STATES = """
window.passedStates = [];
window.everyState = [];
addEventListener('antiphon:state', ({ detail }) => {
  passedStates.push(detail.state);
  everyState.push(detail.state);
});
"""
# Takes what has passed up to one of the states; the one that holds now counts too.
PASS_STATE = """
(names) => {
  const at = passedStates.findIndex((state) => names.includes(state));
  if (at >= 0) return passedStates.splice(0, at + 1);
  return Boolean(window.antiphonCall) && names.includes(window.antiphonCall.state());
}
"""

# Between a worklet and the loudspeaker sits a second worklet which hands over every block that
# passes from the first sound on, and the time at which it did.
TAP = """
(() => {
  const code = `registerProcessor('tap', class extends AudioWorkletProcessor {
    process([input], [output]) {
      const block = input[0];
      if (block) {
        output[0].set(block);
        this.isOn = this.isOn || block.some((sample) => sample !== 0);
        if (this.isOn) this.port.postMessage({ frame: currentFrame, block: block.slice() });
      }
      return true;
    }
  })`;
  const tap = window.tap = { blocks: [], firstAt: null, lastLoudAt: null, flushAskedAt: null };
  const module = URL.createObjectURL(new Blob([code], { type: 'text/javascript' }));
  const addModule = AudioWorklet.prototype.addModule;
  AudioWorklet.prototype.addModule = async function (url, options) {
    await addModule.call(this, module);
    return addModule.call(this, url, options);
  };
  const now = () => performance.timeOrigin + performance.now();
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (target, ...rest) {
    const isPlayer = this instanceof AudioWorkletNode && target === this.context.destination;
    if (!isPlayer) return connect.call(this, target, ...rest);
    const node = new AudioWorkletNode(this.context, 'tap', { outputChannelCount: [1] });
    node.port.onmessage = ({ data }) => {
      const isLoud = data.block.some((sample) => sample !== 0);
      if (isLoud && tap.firstAt === null) tap.firstAt = now();
      if (isLoud) tap.lastLoudAt = now();
      tap.blocks.push(data);
    };
    connect.call(this, node);
    return connect.call(node, target, ...rest);
  };
  tap.take = () => {
    const blocks = tap.blocks.splice(0);
    const frames = blocks.map(({ frame }) => frame);
    const samples = new Float32Array(blocks.length * 128);
    blocks.forEach(({ block }, n) => samples.set(block, n * 128));
    const bytes = new Uint8Array(samples.buffer);
    let text = '';
    for (const byte of bytes) text += String.fromCharCode(byte);
    const { firstAt, lastLoudAt } = tap;
    tap.firstAt = tap.lastLoudAt = null;
    return { frames, samples: btoa(text), firstAt, lastLoudAt };
  };
})();
"""


@contextmanager
def open_strict_browser() -> Iterator[Browser]:
    """Start Chromium as strict as it comes: asks for the microphone and waits for a click."""
    lenient = ("--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required")
    flags = [flag for flag in FLAGS if flag not in lenient]
    flags.append(f"--host-resolver-rules=MAP {STRANGE_HOST} 127.0.0.1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(),
            args=flags,
            ignore_default_args=["--mute-audio", "--headless"],
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True)
class Tapped:
    """What went to the loudspeaker.

    Attributes:
        waveform: (n_samples,) from the first sound on, silence within included.
        has_all: Whether no block of the time is missing.
        first_at_ms, last_loud_at_ms: Wall clock of the first and the last block with sound.
    """

    waveform: np.ndarray
    has_all: bool
    first_at_ms: float | None
    last_loud_at_ms: float | None

    @property
    def sounding(self) -> np.ndarray:
        """From the first to the last sample that is not zero."""
        loud = np.flatnonzero(self.waveform)
        return self.waveform[loud[0] : loud[-1] + 1] if len(loud) else self.waveform[:0]


class PanelDriver:
    """Does what a person does with the live call."""

    def __init__(self, browser: Browser, url: str, *, microphone: bool = True, **context: object):
        permissions = ["microphone"] if microphone else []
        self.context = browser.new_context(permissions=permissions, **context)
        self.context.set_default_timeout(PATIENCE_S * 1000)
        self.url = url
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page = self.open_tab()

    def open_tab(self) -> Page:
        page = self.context.new_page()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.add_init_script(TAP)
        page.add_init_script(STATES)
        page.goto(self.url)
        page.wait_for_selector("#voice-panel #call")
        return page

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not re.search("WebSocket|ERR_CONNECTION", message.text):
            self.problems.append(message.text)

    def start(self) -> None:
        self.page.click("#call")
        self.wait_for_state("listening")

    def wait_for_state(self, *names: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the call is in one of the states, or has been since the last such wait."""
        self.page.wait_for_function(PASS_STATE, arg=list(names), timeout=timeout_s * 1000)

    def wait_for_notice(self, code: str, timeout_s: float = PATIENCE_S) -> str:
        selector = f".notice[data-code={code}]"
        return self.page.wait_for_selector(selector, timeout=timeout_s * 1000).inner_text()

    def state(self) -> str:
        return self.page.get_attribute(".panel", "data-state")

    def ask(self, expression: str) -> object:
        return self.page.evaluate(f"() => window.antiphonCall.{expression}")

    def type(self, words: str) -> None:
        self.page.fill("#words", words)
        self.page.press("#words", "Enter")

    def wait_until(self, condition: str, timeout_s: float = PATIENCE_S) -> None:
        self.page.wait_for_function(f"() => {condition}", timeout=timeout_s * 1000)

    def tapped(self) -> Tapped:
        """Take what was played since the last call."""
        taken = self.page.evaluate("() => tap.take()")
        samples = np.frombuffer(base64.b64decode(taken["samples"]), np.float32)
        has_all = bool(np.all(np.diff(taken["frames"]) == BLOCK))
        return Tapped(samples, has_all, taken["firstAt"], taken["lastLoudAt"])

    def close(self) -> None:
        self.context.close()
