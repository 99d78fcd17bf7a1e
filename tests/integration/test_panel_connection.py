"""The connection of a live call: errors of no consequence, a full server, one that falls silent."""

import pytest

# Ten times as many ticks of whatever the page repeats.
HURRY = """
const real = window.setInterval;
window.setInterval = (work, ms, ...rest) => real.call(window, work, ms / 10, ...rest);
"""


@pytest.mark.parametrize("code", ["item_not_found", "response_cancel_not_active"])
def test_errors_of_no_consequence_are_not_shown(open_panel, fake, code):
    panel = open_panel()
    panel.start()
    fake.do(fake.calls[0].send("error", error={"code": code, "message": "gone"}))
    panel.wait_until("antiphonCall.events.counts().error === 1")
    assert panel.page.locator(".notice[data-code=server_error]").count() == 0


def test_server_that_is_full(open_panel, fake):
    panel = open_panel()
    fake.plan.refuse = 1013
    panel.page.click("#call")
    assert "full" in panel.wait_for_notice("full")
    panel.wait_for_state("full")
    assert panel.page.inner_text("#state") == "The server is full"
    assert "by itself" in panel.page.inner_text("#hint")
    assert panel.page.inner_text("#call") == "Hang up"
    assert panel.page.locator(".notice[data-code=server_error]").count() == 0  # said already
    panel.page.evaluate("() => antiphonCall.configure({page_language: 'zh'})")
    assert panel.page.inner_text("#state") == "服务器已满"
    panel.page.click("#call")  # nobody tries again after hanging up, and nothing says so
    panel.wait_for_state("idle")
    panel.page.wait_for_selector(".notice[data-code=full]", state="detached")
    panel.page.click("#call")
    panel.wait_for_state("full")
    panel.page.evaluate("() => antiphonCall.configure({page_language: 'en'})")
    fake.plan.refuse = 0
    panel.wait_for_state("listening")  # by itself, after a few seconds
    assert panel.page.locator(".notice[data-code=full]").count() == 0
    assert "reconnecting" not in panel.page.evaluate("() => everyState")
    assert "connecting" in panel.page.evaluate("() => everyState")


def test_server_that_is_full_when_a_call_comes_back(open_panel, fake):
    panel = open_panel()
    panel.start()
    fake.plan.refuse = 1013
    fake.do(fake.calls[0].websocket.close(1011))
    panel.wait_for_state("reconnecting")
    panel.wait_for_state("full")
    panel.wait_for_notice("full")
    assert panel.page.locator(".notice[data-code=lost]").count() == 0
    fake.plan.refuse = 0
    panel.page.click(".notice [data-action=now]")
    panel.wait_for_state("listening")


def test_server_that_falls_silent_is_left(open_panel, fake):
    panel = open_panel()
    panel.page.add_init_script(HURRY)
    panel.page.reload()
    panel.start()
    panel.wait_until("antiphonCall.events.counts()['antiphon.pong'] >= 2")
    fake.plan.is_deaf = True
    n_pings = len(fake.of_type("antiphon.ping"))
    panel.wait_for_state("reconnecting")
    assert len(fake.of_type("antiphon.ping")) - n_pings in (3, 4)
    fake.plan.is_deaf = False
    panel.wait_for_state("listening")
    assert len(fake.queries) == 2


def test_late_clock_of_a_hidden_tab_does_not_end_a_silent_call(open_panel, fake):
    panel = open_panel()
    panel.start()
    panel.wait_until("antiphonCall.events.counts()['antiphon.pong'] >= 1")
    for _ in range(2):  # the next ping comes a minute after the last answer
        pongs = panel.ask("events.counts()")["antiphon.pong"]
        panel.page.evaluate(
            "() => { const before = performance.now.bind(performance);"
            " performance.now = () => before() + 60000 }"
        )
        panel.wait_until(f"antiphonCall.events.counts()['antiphon.pong'] > {pongs}")
    assert "reconnecting" not in panel.page.evaluate("() => everyState")
    assert len(fake.queries) == 1
