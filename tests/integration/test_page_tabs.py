"""The whole page in a real browser: calls, turns and downloads of one conversation, settings, API.

A tone stands in for the model; the voice detector is the real one.
"""

import io
import json
import subprocess
import zipfile
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from gradio_client import Client, handle_file

from antiphon.config import DemoConfig
from antiphon.demo.layout import PageOptions
from antiphon.demo.serving import running_page
from antiphon.errors import EngineError
from tests.fake_pipeline import FakePipeline
from tests.integration.test_page import free_port
from tests.page_driver import PageDriver, find_chromium, make_question, open_browser

REPLY = "It is a fine answer"
ARIA_RULES = ("aria-prohibited-attr", "aria-allowed-attr", "aria-valid-attr-value", "aria-roles")
LIVE, TURNS, DEVELOPER = range(3)


@pytest.fixture(scope="module")
def microphone(tmp_path_factory):
    return make_question(tmp_path_factory.mktemp("mic"), "What is three plus four?")


@pytest.fixture(scope="module")
def browser(microphone) -> Iterator[object]:
    find_chromium()
    with open_browser(microphone) as opened:
        yield opened


@pytest.fixture(scope="module")
def server() -> dict[str, object]:
    """What the model server is like: `error` is why it cannot answer."""
    return {"error": None}


@pytest.fixture(scope="module")
def url(server) -> Iterator[str]:
    async def check() -> None:
        if server["error"] is not None:
            raise server["error"]

    config, options = DemoConfig(port=free_port()), PageOptions(voices=("first", "second"))
    with running_page(FakePipeline(n_chunks=3), config, options, check) as address:
        yield address


@pytest.fixture
def page(browser, url) -> Iterator[PageDriver]:
    driver = PageDriver(browser, url, locale="en-US")
    problems: list[str] = []
    driver.page.on("pageerror", lambda error: problems.append(str(error)))
    yield driver
    assert problems == []
    websocket = url.replace("http", "ws", 1)
    assert [each for each in driver.other_hosts(url) if not each.startswith(websocket)] == []
    driver.close()


def show(page: PageDriver, tab: int) -> None:
    """Change to a tab."""
    page.page.locator("#tabs [role=tab]").nth(tab).click()


def wait_for_panel(page: PageDriver) -> None:
    """Wait until the live call can be asked."""
    page.page.wait_for_function("() => window.antiphonCall !== undefined")


def ask(page: PageDriver, words: str) -> None:
    """Ask a typed question and wait for its answer."""
    page.type(words)
    page.wait_for_text(words)
    page.wait_for_state("done")


def archive_of(page: PageDriver, url: str) -> tuple[dict, list[str]]:
    """Download the whole conversation; gives its description and the names of its files."""
    conversation = page.page.evaluate("antiphonPage.conversationId()")
    answer = page.page.request.get(f"{url}conversation/{conversation}.zip")
    with zipfile.ZipFile(io.BytesIO(answer.body())) as archive:
        return json.loads(archive.read("conversation.json")), archive.namelist()


def test_a_call_and_typed_turns_are_one_conversation(page, url):
    ask(page, "typed before the call")
    show(page, LIVE)
    wait_for_panel(page)
    page.page.get_by_text("typed before the call").locator("visible=true").wait_for()
    page.page.get_by_role("button", name="Start call").click()
    answered = """() => window.antiphonCall.items().filter(
      (item) => item.role === 'assistant' && item.status !== 'in_progress').length >= 2"""
    page.page.wait_for_function(answered)
    row = page.page.locator("#voice-panel .item.assistant").last
    for kind, content in (("wav", "audio/wav"), ("json", "application/json")):
        address = row.get_by_role("link", name=f"({kind})").evaluate("link => link.href")
        answer = page.page.request.get(address)
        assert (answer.status, answer.headers["content-type"]) == (200, content)
    show(page, DEVELOPER)
    page.page.locator("#events .event-filter").fill("response.done")
    page.page.locator("#events summary .type", has_text="response.done").first.wait_for()
    page.page.evaluate("window.antiphonCall.hangUp()")
    show(page, TURNS)
    page.page.wait_for_function(
        "() => document.querySelectorAll('#chat .minimal-audio-player').length >= 3"
    )
    page.page.click("#downloads summary")
    for kind in ("wav", "json"):
        links = page.page.locator("#downloads li a", has_text=kind).all()
        assert len(links) >= 3
        addresses = [url + str(link.get_attribute("href")) for link in links]
        assert all(page.page.request.get(address).ok for address in addresses)
    described, names = archive_of(page, url)
    kinds = [(item["role"], item["kind"]) for item in described["items"][:4]]
    assert kinds[:2] == [("user", "text"), ("assistant", "speech")]
    assert kinds[2] == ("user", "speech")
    assert sum(name.endswith(".wav") for name in names) >= 3
    page.page.reload()
    show(page, TURNS)
    page.wait_for_text("typed before the call")


def test_reload_keeps_and_new_begins(page):
    ask(page, "keep this")
    page.page.reload()
    show(page, TURNS)
    page.wait_for_text("keep this")
    assert page.n_players() == 1
    kept = page.page.evaluate("antiphonPage.conversationId()")
    page.page.get_by_role("button", name="New conversation").click()
    page.page.get_by_text("A new conversation.").wait_for()
    assert page.bubbles() == []
    assert page.page.evaluate("antiphonPage.conversationId()") != kept


def test_clear_deletes_the_clips(page, url):
    ask(page, "delete this")
    address = page.page.locator("#downloads a", has_text="wav").first.get_attribute("href")
    assert page.page.request.get(url + address).ok
    page.page.click("#clear")
    page.page.get_by_text("The conversation is empty again.").wait_for()
    assert page.page.request.get(url + address).status == 404
    assert archive_of(page, url)[1] == ["conversation.json"]


def test_a_second_tab_shows_what_is_said_in_the_first(page, url):
    ask(page, "said in the first tab")
    second = page.context.new_page()
    second.goto(url)
    second.locator("#tabs [role=tab]").nth(TURNS).click()
    second.locator("#chat").get_by_text("said in the first tab").wait_for()
    ask(page, "and this later")
    second.locator("#chat").get_by_text("and this later").wait_for()


def test_settings_are_kept_and_reach_the_call(page):
    wait_for_panel(page)
    page.page.locator("#settings > button").click()
    page.page.get_by_role("button", name="Lively").click()
    page.page.wait_for_function("() => antiphonCall.settings().temperature === 0.8")
    page.limit_tokens(77, is_open=True)
    page.page.wait_for_function("() => antiphonCall.settings().max_tokens === 77")
    assert page.page.locator("#voice").is_visible()
    page.page.reload()
    wait_for_panel(page)
    page.page.wait_for_function("() => antiphonCall.settings().max_tokens === 77")
    page.page.locator("#settings > button").click()
    assert page.page.input_value("#max-tokens input[type=number]") == "77"


def test_language_and_colours_can_be_chosen(page):
    page.page.locator("#settings > button").click()
    page.page.get_by_label("Dark").check()
    page.page.wait_for_function("() => document.body.classList.contains('dark')")
    page.page.get_by_label("中文").click()  # loads the page anew
    page.page.get_by_role("tab", name="逐轮对话").click()
    page.page.get_by_role("button", name="发送录音").wait_for()
    assert page.page.evaluate("document.body.classList.contains('dark')")
    wait_for_panel(page)
    page.type("你好")
    assert page.wait_for_state("done").startswith("已回答")
    page.page.locator("#settings > button").click()
    page.page.get_by_label("Auto").first.click()
    page.page.get_by_role("tab", name="Turn by turn").wait_for()


def test_the_developer_sees_inside_and_curl_asks_again(page):
    ask(page, 'what\'s "this"?')
    show(page, DEVELOPER)
    picture = "() => document.querySelector('#picture img.on-light')?.naturalWidth > 0"
    page.page.wait_for_function(picture)
    page.page.locator("#timings").get_by_text("first sound after").wait_for()
    page.page.locator("#tokens > button").click()
    assert page.page.input_value("#audio-tokens textarea") == "200 201 202"
    command = page.page.input_value("#curl textarea")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert "event: complete" in done.stdout, done.stderr
    assert REPLY in done.stdout


def test_a_model_server_that_comes_back_is_noticed(page, server):
    server["error"] = EngineError("no model server at home")
    try:
        page.page.reload()
        page.page.locator("#health").get_by_text("no model server at home").wait_for()
        server["error"] = None
        page.page.get_by_role("button", name="Try again").click()
        page.page.locator("#health").wait_for(state="hidden")
    finally:
        server["error"] = None


def test_every_control_has_a_name(page):
    unnamed = """() => [...document.querySelectorAll('button, a[href], input, textarea, select')]
      .filter((element) => element.checkVisibility() && !element.closest('[aria-hidden=true]'))
      .filter((element) => !(element.innerText.trim() || element.getAttribute('aria-label')
        || element.title || element.labels?.length || element.placeholder))
      .map((element) => element.outerHTML.slice(0, 200))"""
    for tab in (LIVE, TURNS, DEVELOPER):
        show(page, tab)
        assert page.page.evaluate(unnamed) == []


def test_names_stand_where_they_may(page):
    options = {"runOnly": list(ARIA_RULES)}
    for tab in (LIVE, TURNS, DEVELOPER):
        show(page, tab)
        found = Axe().run(page.page, options=options).response
        assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found["violations"]] == []
        assert found["passes"]


def test_programs_ask_through_the_api(url, microphone):
    with_api = Client(url, verbose=False)
    text, clip, conversation = with_api.predict("how are you", api_name="/chat")
    assert text == REPLY
    assert clip.endswith(".wav")
    job = with_api.submit(handle_file(str(microphone)), conversation, api_name="/voice")
    text, clip, again = job.result()
    assert (text, again) == (REPLY, conversation)
    assert any(step[0] and step[1] is None for step in job.outputs())  # words come as they are made
    with pytest.raises(Exception, match="the model server does not answer"):
        with_api.predict("please fail", api_name="/chat")
    with pytest.raises(Exception, match="top_p"):
        with_api.predict("hello", "", 0.2, 0, api_name="/chat")
    with_api.close()
