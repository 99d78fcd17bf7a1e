"""The connection of a live call: errors of no consequence, a full server, one that falls silent."""

import pytest


@pytest.mark.parametrize("code", ["item_not_found", "response_cancel_not_active"])
def test_errors_of_no_consequence_are_not_shown(open_panel, fake, code):
    panel = open_panel()
    panel.start()
    fake.do(fake.calls[0].send("error", error={"code": code, "message": "gone"}))
    panel.wait_until("antiphonCall.events.counts().error === 1")
    assert panel.page.locator(".notice[data-code=server_error]").count() == 0
