"""The live call when something is in the way, in Chinese, on a phone, and for everybody."""

import time

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.integration.test_panel import answer

HISTORY = [
    {
        **{"id": "item_a", "role": "user", "kind": "speech", "text": "what is three plus four"},
        **{"audio_ms": 1200, "status": "completed", "heard_ms": None, "has_clip": True},
    },
    {
        **{"id": "item_b", "role": "assistant", "kind": "speech", "text": "It is seven."},
        **{"audio_ms": 900, "status": "cut", "heard_ms": 640, "has_clip": True},
    },
]


def test_server_that_comes_back_finds_the_call_again(open_panel, fake):
    panel = open_panel()
    panel.start()
    answer(fake, panel, seconds=6.0)
    fake.kill()
    panel.wait_for_state("reconnecting")
    assert "restarts" in panel.wait_for_notice("lost")
    panel.page.wait_for_timeout(1500)
    fake.plan.history = HISTORY
    fake.start()
    begin = time.monotonic()
    panel.wait_for_state("listening")
    assert time.monotonic() - begin < 5.0
    assert panel.page.locator(".notice:is([data-code=lost], [data-code=forgotten])").count() == 0
    identity = panel.ask("conversationId()")
    assert [query["conversation"] for query in fake.queries] == [identity, identity]
    assert panel.page.locator(".item .text").all_inner_texts() == [
        *("what is three plus four", "It is seven."),
    ]
    assert panel.ask("stats()")["framesSent"] > 0
    answer(fake, panel, seconds=0.4)
    panel.wait_for_state("listening")
    assert panel.problems == []


def test_server_that_has_forgotten_what_was_said(open_panel, fake):
    panel = open_panel()
    panel.start()
    answer(fake, panel, seconds=0.4)
    panel.wait_for_state("listening")
    items = panel.page.locator(".item")
    before = items.locator(".text").all_inner_texts()
    assert len(before) >= 1
    fake.kill()
    panel.wait_for_state("reconnecting")
    assert "kept" not in panel.wait_for_notice("lost")
    fake.start()
    assert "forgotten" in panel.wait_for_notice("forgotten")
    panel.wait_for_state("listening")
    assert items.locator(".text").all_inner_texts() == before
    assert panel.page.locator(".item:not(.forgotten)").count() == 0
    assert panel.page.locator(".item .tools:visible").count() == 0
    assert "no longer knows" in items.locator(".note").first.inner_text()
    answer(fake, panel, seconds=0.4)
    panel.wait_for_state("listening")
    assert panel.page.locator(".item.forgotten").count() == len(before)
    assert panel.page.locator(".item:not(.forgotten) .tools:visible").count() >= 1
    assert panel.problems == []


def test_what_is_typed_while_the_server_is_away_is_not_forgotten(open_panel, fake):
    panel = open_panel()
    panel.type("hello")
    panel.wait_for_state("listening")
    assert panel.page.locator(".notice[data-code=forgotten]").count() == 0
    assert panel.page.locator(".item.user:not(.forgotten) .text").inner_text() == "hello"
    fake.kill()
    panel.wait_for_state("reconnecting")
    panel.type("are you there")
    fake.start()
    panel.wait_for_notice("forgotten")
    panel.page.locator(".item.user:not(.forgotten)", has_text="are you there").wait_for()
    assert panel.page.locator(".item.user.forgotten .text").all_inner_texts() == ["hello"]


def test_server_that_is_not_there_yet(open_panel, fake):
    panel = open_panel()
    fake.kill()
    panel.page.click("#call")
    panel.wait_for_notice("unreachable")
    assert panel.state() == "connecting"
    fake.start()
    panel.wait_for_state("listening", timeout_s=5)
    panel.page.click("#call")
    panel.wait_for_state("idle")


def test_server_that_refuses(open_panel, fake):
    panel = open_panel()
    fake.plan.refuse = 1008
    panel.page.click("#call")
    assert "not today" in panel.wait_for_notice("refused")
    panel.wait_for_state("error")
    fake.plan.refuse = 1013
    panel.page.click(".notice [data-action=retry]")
    panel.wait_for_notice("full")
    fake.plan.refuse = 0
    panel.page.click(".notice [data-action=now]")
    panel.wait_for_state("listening")


def test_queue_failed_reply_and_error(open_panel, fake):
    panel = open_panel()
    fake.plan.queue = (3, None)
    panel.page.click("#call")
    panel.wait_for_state("queued")
    assert panel.page.inner_text("#state") == "In the queue, place 3"
    fake.move_queue()
    panel.page.get_by_text("Waiting for a free place").wait_for()
    fake.move_queue()
    panel.wait_for_state("listening")
    fake.plan_reply(fails="out of memory")
    panel.type("hello")
    assert "out of memory" in panel.wait_for_notice("reply_failed")
    wrong = {"code": "invalid_value", "message": "no such voice"}
    fake.do(fake.calls[0].send("error", error=wrong))
    assert "no such voice" in panel.wait_for_notice("server_error")
    panel.page.click(".notice[data-code=server_error] .dismiss")
    assert panel.page.locator(".notice[data-code=server_error]").count() == 0
    assert panel.state() == "listening"


def test_no_microphone_until_one_is_there(open_panel, fake):
    panel = open_panel()
    panel.page.evaluate(
        "() => { const media = navigator.mediaDevices; window.real = media.getUserMedia;"
        " media.getUserMedia = async () => { throw new DOMException('none', 'NotFoundError') } }"
    )
    panel.page.click("#call")
    panel.wait_for_notice("microphone_missing")
    panel.wait_for_state("error")
    panel.page.evaluate("() => { navigator.mediaDevices.getUserMedia = window.real }")
    panel.page.click(".notice [data-action=retry]")
    panel.wait_for_state("listening")
    assert fake.queries


def test_two_tabs(open_panel, fake):
    panel = open_panel()
    panel.start()
    second = panel.open_tab()
    second.wait_for_selector(".notice[data-code=taken]")
    second.click(".notice [data-action=take]")
    second.wait_for_selector(".panel[data-state=listening]")
    assert "another tab" in panel.wait_for_notice("other_tab")
    panel.wait_for_state("idle")
    panel.page.wait_for_timeout(200)
    assert len(fake.calls) == 1


def test_reload_keeps_the_conversation(open_panel, fake):
    panel = open_panel()
    panel.start()
    answer(fake, panel, seconds=0.3)
    identity = panel.ask("conversationId()")
    fake.plan.history = HISTORY
    panel.page.reload()
    panel.page.wait_for_selector(".item.assistant")
    assert panel.ask("conversationId()") == identity
    assert "stopped after 0.6 s" in panel.page.inner_text(".item.assistant")
    panel.page.click("#renew")
    panel.wait_until("antiphonCall.items().length === 0")
    assert panel.ask("conversationId()") != identity


def test_each_turn_can_be_downloaded(open_panel, fake):
    panel = open_panel()
    typed = {**HISTORY[0], "id": "item_c", "kind": "text", "has_clip": False}
    fake.plan.history = [*HISTORY, typed]
    panel.start()
    panel.page.wait_for_selector("[data-item=item_c]")
    base = f"/conversation/{panel.ask('conversationId()')}/item/"
    for item_id, kinds in (("item_a", ["wav", "json"]), ("item_c", ["json"])):
        links = panel.page.locator(f"[data-item={item_id}] .tools a:visible")
        assert links.all_inner_texts() == kinds
        for link, kind in zip(links.all(), kinds, strict=True):
            assert link.evaluate("link => link.href").endswith(f"{base}{item_id}.{kind}")
            assert link.get_attribute("download") == f"{item_id}.{kind}"
    answer(fake, panel, seconds=3.0)  # nothing is offered before it is there
    row = panel.page.locator(".item").last
    assert row.locator(".tools:visible").count() == 0
    panel.wait_for_state("listening")
    assert row.locator(".tools a:visible").all_inner_texts() == ["wav", "json"]


def test_chinese(open_panel, fake):
    panel = open_panel(locale="zh-CN")
    assert panel.page.inner_text("#call") == "开始通话"
    panel.start()
    assert panel.page.inner_text("#state") == "正在聆听"
    assert panel.page.get_attribute("#mute", "aria-label") == "麦克风静音"
    panel.ask("configure({page_language: 'en'})")
    assert panel.page.inner_text("#state") == "Listening"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(open_panel, fake, scheme):
    panel = open_panel(color_scheme=scheme, reduced_motion="reduce")
    panel.page.evaluate(f"() => document.body.classList.toggle('dark', '{scheme}' === 'dark')")
    fake.plan.history = HISTORY
    panel.start()
    panel.page.click("#settings summary")
    panel.page.locator("#mode-push-to-talk").check()
    answer(fake, panel, seconds=8.0, pace=4.0)
    fake.do(fake.calls[0].send("error", error={"message": "an error", "code": "x"}))
    panel.wait_for_notice("server_error")
    found = Axe().run(panel.page, context="#voice-panel")
    serious = [v for v in found.response["violations"] if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in serious] == []


def test_phone(open_panel, fake):
    panel = open_panel(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    panel.start()
    answer(fake, panel, seconds=3.0)
    width = panel.page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= 390
    for name in ("#call", "#mute", "#stop"):
        box = panel.page.locator(name).bounding_box()
        assert box["y"] + box["height"] <= 844, name
        assert min(box["width"], box["height"]) >= 44, name
