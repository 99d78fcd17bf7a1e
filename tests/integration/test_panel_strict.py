"""The live call in a browser that asks before it gives the microphone and before it sounds."""

from collections.abc import Iterator

import pytest

from tests.panel_driver import STRANGE_HOST, PanelDriver, open_strict_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with open_strict_browser() as opened:
        yield opened


def test_microphone_denied(browser, served, fake):
    panel = PanelDriver(browser, served[1], microphone=False, locale="en-US")
    panel.page.click("#call")
    assert "Allow it" in panel.wait_for_notice("microphone_denied")
    panel.wait_for_state("error")
    panel.context.grant_permissions(["microphone"])
    panel.page.click(".notice [data-action=retry]")
    panel.wait_for_state("listening")
    panel.close()


def test_neither_localhost_nor_https(browser, served, fake):
    strange = served[1].replace("localhost", STRANGE_HOST)
    panel = PanelDriver(browser, strange, microphone=False, locale="en-US")
    assert "--ssl-self-signed" in panel.wait_for_notice("microphone_insecure")  # before any click
    panel.page.click(".notice .dismiss")
    panel.page.click("#call")
    panel.wait_for_notice("microphone_insecure")
    panel.page.click(".notice [data-action=type]")
    assert (
        panel.page.evaluate("() => document.activeElement.shadowRoot.activeElement.id") == "words"
    )
    panel.close()


def test_silence_until_a_click(browser, served, fake):
    panel = PanelDriver(browser, served[1], locale="en-US")
    page = panel.page  # its scripts count as clicks once the driver has touched it: load it anew
    page.add_init_script("addEventListener('antiphon:ready', () => antiphonCall.sendText('hello'))")
    page.reload()
    page.wait_for_timeout(3000)  # touches nothing while the call opens by itself
    panel.wait_for_notice("autoplay")
    panel.page.click(".notice [data-action=sound]")
    panel.wait_for_state("speaking")
    panel.page.wait_for_selector(".notice[data-code=autoplay]", state="detached")
    panel.close()
