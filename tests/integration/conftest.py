"""What the tests of the live call share: a browser, a server that answers with a tone, its page."""

from collections.abc import Iterator

import pytest

from tests.fake_realtime import FakeRealtime, running_fake
from tests.page_driver import find_chromium, make_question, open_browser
from tests.panel_driver import PanelDriver


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeRealtime, str]]:
    with running_fake() as (server, address):
        yield server, address


@pytest.fixture
def fake(served) -> FakeRealtime:
    served[0].reset()
    return served[0]


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[object]:
    find_chromium()
    microphone = make_question(tmp_path_factory.mktemp("mic"), "What is three plus four?")
    with open_browser(microphone) as opened:
        yield opened


@pytest.fixture
def open_panel(browser, served) -> Iterator[object]:
    drivers = []

    def start(**context: object) -> PanelDriver:
        drivers.append(PanelDriver(browser, served[1], **{"locale": "en-US", **context}))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.close()
