"""Controls and signs of the live call: sliders, voice, replay, gaps, the state, a hidden tab."""

import io
import time

import numpy as np
import pytest
import soundfile

from tests.fake_realtime import FakeRealtime
from tests.integration.test_panel import answer, assert_is_reply
from tests.integration.test_panel_troubles import HISTORY
from tests.page_driver import PATIENCE_S

HIDE = """
(state) => {
  Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
  Object.defineProperty(document, 'hidden', { value: state === 'hidden', configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}
"""
WAKE_LOCKS = """
() => {
  window.wakeLocks = 0;
  navigator.wakeLock.request = async () => {
    wakeLocks += 1;
    return { release: async () => {} };
  };
}
"""

SAYS_SLOW = """
() => Boolean(document.querySelector('.antiphon-call').shadowRoot.querySelector('[data-code=slow]'))
"""
LOUD = """
(name) => {
  const orb = document.querySelector('.antiphon-call').shadowRoot.getElementById('orb');
  return Number(orb.style.getPropertyValue(`--loud-${name}`)) > 0.3;
}
"""


def wav(seconds: float) -> bytes:
    """Write a tone as a wav file."""
    sound = io.BytesIO()
    time_s = np.arange(round(24_000 * seconds)) / 24_000
    soundfile.write(sound, 0.2 * np.sin(2 * np.pi * 440 * time_s), 24_000, format="WAV")
    return sound.getvalue()


def wait_for_silence(fake: FakeRealtime, silence_ms: int) -> None:
    """Wait for the silence in the last settings; leaving a slider may tell the same once more."""
    deadline, told = time.monotonic() + PATIENCE_S, None
    while told != silence_ms and time.monotonic() < deadline:
        time.sleep(0.05)
        last = fake.of_type("session.update")[-1]["session"]["audio"]["input"]
        told = last["turn_detection"]["silence_duration_ms"]
    assert told == silence_ms


def test_sliders_and_voice_reach_the_session(open_panel, fake):
    panel = open_panel()
    panel.page.locator("#settings summary").click()
    panel.page.locator("#sensitivity").fill("80")
    assert panel.page.inner_text("#sensitivity-value") == "80 %"
    panel.ask("configure({voice: 'calm'})")
    panel.start()
    panel.wait_until("antiphonCall.events.counts()['session.updated'] >= 1")
    audio = fake.of_type("session.update")[0]["session"]["audio"]
    assert audio["input"]["turn_detection"]["threshold"] == pytest.approx(0.26)
    assert audio["output"]["voice"] == "calm"
    panel.page.locator("#silence").fill("900")  # and while the call is on
    assert panel.page.inner_text("#silence-value") == "0.90 s"
    wait_for_silence(fake, 900)
    audio = fake.of_type("session.update")[-1]["session"]["audio"]
    assert audio["input"]["turn_detection"]["threshold"] == pytest.approx(0.26)
    assert audio["output"]["voice"] == "calm"


def test_turn_is_played_again(open_panel, fake):
    panel = open_panel()
    fake.plan.history = HISTORY
    asked = []

    def give(route: object) -> None:
        asked.append(route.request.url)
        route.fulfill(body=wav(1.0), content_type="audio/wav")

    panel.page.route("**/item/*.wav", give)
    panel.start()
    play = panel.page.locator("[data-item=item_b] button.tool")
    play.click()
    panel.page.wait_for_function(
        "() => { const player = document.querySelector('.antiphon-call').shadowRoot"
        ".getElementById('replay'); return !player.paused && player.currentTime > 0.1 }"
    )
    assert asked[0].endswith(f"/conversation/{panel.ask('conversationId()')}/item/item_b.wav")
    assert play.get_attribute("aria-label") == "Stop playing"
    panel.page.wait_for_selector("[data-item=item_b] button[aria-label='Play this turn again']")
    play.click()
    play.click()  # stops it
    assert play.get_attribute("aria-label") == "Play this turn again"
    assert panel.page.evaluate(
        "() => document.querySelector('.antiphon-call').shadowRoot.getElementById('replay').paused"
    )


def test_gaps_are_blamed_on_the_network(open_panel, fake):
    panel = open_panel()
    panel.start()
    for number in range(3):  # a busy machine may add gaps of its own
        assert panel.page.evaluate(SAYS_SLOW) == (panel.ask("stats()")["underruns"] >= 3)
        answer(fake, panel, seconds=0.9, pace=0, pause_at_s=0.4, pause_s=0.8)
        panel.wait_until(f"antiphonCall.stats().underruns > {number}")
        panel.wait_for_state("listening")
    words = panel.wait_for_notice("slow")
    assert f"grown to {panel.ask('stats()')['bufferMs']} ms" in words
    panel.page.click(".notice[data-code=slow] .dismiss")
    assert panel.page.locator(".notice[data-code=slow]").count() == 0


def test_state_is_read_aloud(open_panel, fake):
    panel = open_panel()
    state = panel.page.locator("#state")
    assert state.get_attribute("role") == "status"
    assert state.get_attribute("aria-live") == "polite"
    assert state.get_attribute("aria-atomic") == "true"
    handle = state.element_handle()
    panel.start()
    assert handle.inner_text() == "Listening"  # the same element: a new one would not be read


def test_rings_show_who_is_loud(open_panel, fake):
    panel = open_panel()
    panel.start()
    panel.page.wait_for_function(LOUD, arg="person")  # the made-up microphone speaks
    panel.page.keyboard.press("m")
    panel.page.wait_for_function(f"(name) => !({LOUD})(name)", arg="person")
    answer(fake, panel, seconds=4.0)
    panel.page.wait_for_function(LOUD, arg="model")
    panel.page.keyboard.press("Escape")
    panel.page.wait_for_function(f"(name) => !({LOUD})(name)", arg="model")
    panel.page.click("#call")
    panel.wait_for_state("idle")


def test_hidden_tab_goes_on_with_the_call(open_panel, fake):
    panel = open_panel()
    panel.page.evaluate(WAKE_LOCKS)
    panel.start()
    assert panel.page.evaluate("() => wakeLocks") == 1
    panel.page.evaluate(HIDE, "hidden")
    sent = panel.ask("stats()")["framesSent"]
    answer(fake, panel, seconds=0.8, pace=0)
    panel.wait_for_state("listening")
    panel.page.wait_for_timeout(60)
    assert_is_reply(panel.tapped(), fake.plan.reply.tone())
    assert panel.ask("stats()")["framesSent"] > sent + 20
    panel.page.evaluate(HIDE, "visible")
    assert panel.page.evaluate("() => wakeLocks") == 2  # browsers take it from a hidden tab
    panel.page.click("#call")
    panel.wait_for_state("idle")
    panel.page.wait_for_timeout(200)  # the sound fades first
    panel.page.evaluate(HIDE, "visible")
    assert panel.page.evaluate("() => wakeLocks") == 2
