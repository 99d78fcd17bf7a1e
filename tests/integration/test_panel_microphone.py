"""The microphone of a live call: how it is asked for, which one, and what if it goes away."""

import pytest

from tests.panel_driver import PanelDriver

# Notes what the page asks of the browser and keeps what it got.
WATCH = """
() => {
  const media = navigator.mediaDevices;
  const real = media.getUserMedia.bind(media);
  window.asked = [];
  window.tracks = [];
  media.getUserMedia = async (wanted) => {
    asked.push(wanted.audio);
    if (window.isUnplugged) throw new DOMException('none', 'NotFoundError');
    const stream = await real(wanted);
    tracks.push(...stream.getAudioTracks());
    return stream;
  };
}
"""
PULL_OUT = "() => { window.isUnplugged = true; tracks.at(-1).dispatchEvent(new Event('ended')) }"
PLUG_IN = """
() => {
  window.isUnplugged = false;
  navigator.mediaDevices.dispatchEvent(new Event('devicechange'));
}
"""


@pytest.fixture
def panel(open_panel) -> PanelDriver:
    driver = open_panel()
    driver.page.evaluate(WATCH)
    return driver


def assert_is_heard(panel: PanelDriver) -> None:
    """Check that the sound of a microphone reaches the server."""
    sent = panel.ask("stats()")["framesSent"]
    panel.wait_until(f"antiphonCall.stats().framesSent > {sent + 5}")


def test_microphone_that_is_pulled_out_in_a_call(panel, fake):
    panel.start()
    assert_is_heard(panel)
    panel.page.evaluate(PULL_OUT)
    assert "gone" in panel.wait_for_notice("microphone_lost")
    panel.wait_for_state("deaf")
    assert panel.page.inner_text("#state") == "No microphone"
    assert "type" in panel.page.inner_text("#hint")
    assert panel.page.inner_text("#call") == "Hang up"
    assert panel.page.locator("#mute").is_disabled()
    sent = panel.ask("stats()")["framesSent"]
    panel.type("hello")  # the call goes on
    panel.wait_for_state("speaking")
    panel.wait_for_state("deaf")
    assert panel.ask("stats()")["framesSent"] == sent

    panel.page.click("[data-action=microphone]")  # there is none yet
    panel.wait_for_notice("microphone_missing")
    panel.page.evaluate("() => { window.isUnplugged = false }")
    panel.page.click("[data-action=retry]")
    panel.wait_for_state("listening")
    panel.page.wait_for_selector(".notice[data-code=microphone_missing]", state="detached")
    assert panel.page.locator("#mute").is_enabled()
    assert_is_heard(panel)
    panel.page.evaluate(PULL_OUT)
    panel.wait_for_state("deaf")
    panel.page.evaluate("() => { window.isUnplugged = false }")
    panel.page.click("[data-action=microphone]")
    panel.wait_for_state("listening")
    assert_is_heard(panel)
    assert len(fake.queries) == 1  # one call all the time
    assert panel.problems == []


def test_microphone_that_is_plugged_in_again_is_taken_up(panel, fake):
    panel.start()
    panel.page.evaluate(PLUG_IN)  # nothing is missing: nothing is opened
    panel.page.evaluate(PULL_OUT)
    panel.wait_for_state("deaf")
    panel.page.evaluate(PLUG_IN)
    panel.page.evaluate(PLUG_IN)  # browsers tell of one device several times
    panel.wait_for_state("listening")
    panel.page.wait_for_selector(".notice[data-code=microphone_lost]", state="detached")
    assert_is_heard(panel)
    states = panel.page.evaluate("() => tracks.map((track) => track.readyState)")
    assert states == ["ended", "live"]
    panel.page.click("#call")
    panel.wait_for_state("idle")
    panel.page.evaluate(PLUG_IN)  # and nothing after the call
    panel.page.wait_for_timeout(200)
    assert len(panel.page.evaluate("() => asked")) == 2


def test_what_was_half_said_when_the_microphone_went_is_answered(panel, fake):
    fake.plan.hears = True
    panel.start()
    panel.wait_for_state("hearing")
    panel.page.evaluate(PULL_OUT)
    panel.wait_for_state("speaking")
    panel.wait_for_state("deaf")
    assert len(fake.of_type("session.update")) == 1
