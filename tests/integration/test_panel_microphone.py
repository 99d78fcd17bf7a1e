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


def test_nothing_is_opened_after_a_call_that_lost_its_microphone(panel):
    panel.start()
    panel.page.evaluate(PULL_OUT)
    panel.wait_for_notice("microphone_lost")
    panel.page.click("#call")
    panel.wait_for_state("idle")
    panel.page.wait_for_selector(".notice[data-code=microphone_lost]", state="detached")
    panel.page.locator("#settings summary").click()
    other = panel.page.locator("#microphone option").nth(1).get_attribute("value")
    panel.page.select_option("#microphone", other)
    panel.page.evaluate(PLUG_IN)
    panel.page.wait_for_timeout(200)
    assert len(panel.page.evaluate("() => asked")) == 1


def test_what_was_half_said_when_the_microphone_went_is_answered(panel, fake):
    fake.plan.hears = True
    panel.start()
    panel.wait_for_state("hearing")
    panel.page.evaluate(PULL_OUT)
    panel.wait_for_state("speaking")
    panel.wait_for_state("deaf")
    assert len(fake.of_type("session.update")) == 1


def test_microphone_is_asked_for_without_echo_noise_and_changes_of_loudness(panel):
    panel.start()
    (wanted,) = panel.page.evaluate("() => asked")
    assert wanted == {
        **{"echoCancellation": True, "noiseSuppression": True, "autoGainControl": True},
        "channelCount": 1,
    }
    # what Chromium says of a track it made up: that it does the same
    got = panel.page.evaluate("() => tracks[0].getSettings()")
    assert got["echoCancellation"] is True
    assert got["noiseSuppression"] is True
    assert got["autoGainControl"] is True


def test_chosen_microphone_is_opened(panel, fake):
    panel.start()
    panel.page.locator("#settings summary").click()
    panel.wait_until("antiphonCall.stats().framesSent > 0")
    options = panel.page.locator("#microphone option")
    assert options.count() >= 3  # the system's choice and Chromium's made-up devices
    chosen = options.nth(2).get_attribute("value")
    panel.page.select_option("#microphone", chosen)
    panel.wait_until("tracks.length === 2")
    assert panel.page.evaluate("() => asked[1].deviceId") == {"exact": chosen}
    assert panel.page.evaluate("() => tracks[1].getSettings().deviceId") == chosen
    assert_is_heard(panel)
    states = panel.page.evaluate("() => tracks.map((track) => track.readyState)")
    assert states == ["ended", "live"]
    panel.page.click("#call")
    panel.wait_for_state("idle")
    panel.page.evaluate("() => passedStates.splice(0)")
    panel.page.reload()  # the choice is kept
    panel.page.evaluate(WATCH)
    panel.start()
    assert panel.page.evaluate("() => asked[0].deviceId") == {"exact": chosen}


def test_hint_of_headphones(panel, fake):
    panel.start()
    assert "Headphones" in panel.wait_for_notice("headphones")
    assert panel.page.locator("#advice .notice[data-code=headphones]").count() == 1
    panel.page.click("[data-action=half_duplex]")
    panel.wait_until("antiphonCall.settings().half_duplex === true")
    panel.wait_until("antiphonCall.events.counts()['session.updated'] === 2")
    assert fake.of_type("session.update")[-1]["session"]["antiphon"]["half_duplex"] is True
    panel.page.click("#call")
    panel.wait_for_state("idle")
    panel.start()  # said once is enough
    assert panel.page.locator(".notice[data-code=headphones]").count() == 0
