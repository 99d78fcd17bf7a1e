"""The live call in a real browser, against a server that answers with a tone."""

import statistics
from collections.abc import Iterator

import numpy as np
import pytest

from tests.fake_realtime import RATE, FakeRealtime
from tests.panel_driver import PanelDriver, Tapped

FADE = RATE * 8 // 1000
# Counts elements inside the panel's shadow tree.
WORDS = "((s) => document.querySelector('.antiphon-call').shadowRoot.querySelectorAll(s).length)"


@pytest.fixture
def panel(browser, served, fake) -> Iterator[PanelDriver]:
    driver = PanelDriver(browser, served[1], locale="en-US")
    yield driver
    hosts = (served[1], f"ws://localhost:{fake.port}", "data:", "blob:")
    assert [url for url in driver.requests if not url.startswith(hosts)] == []
    assert driver.problems == []
    driver.close()


def answer(fake: FakeRealtime, panel: PanelDriver, **reply: object) -> None:
    """Let the server answer out of the blue, as after a question."""
    fake.plan_reply(**reply)

    async def begin() -> None:
        fake.calls[0].reply()

    fake.do(begin())
    panel.wait_for_state("speaking")


def answer_whole(fake: FakeRealtime, panel: PanelDriver, **reply: object) -> Tapped:
    """Let the server answer and give what was played once it is over."""
    answer(fake, panel, **reply)
    panel.wait_for_state("listening")
    panel.page.wait_for_timeout(60)
    return panel.tapped()


def assert_is_reply(tapped: Tapped, tone: np.ndarray) -> None:
    """Check that the loudspeaker got exactly the reply, but for the fades at both ends."""
    assert tapped.has_all
    expected = tone / np.float32(32768)
    gain = np.minimum(1, np.arange(1, len(tone) + 1) / FADE)
    gain = np.minimum(gain, np.arange(len(tone) - 1, -1, -1) / FADE)
    faded = (expected * gain).astype(np.float32)
    begin = np.flatnonzero(tapped.waveform)[0] - np.flatnonzero(faded)[0]
    played = tapped.waveform[begin : begin + len(tone)]
    np.testing.assert_allclose(played, faded, atol=1e-6)
    assert not tapped.waveform[begin + len(tone) :].any()


@pytest.mark.parametrize("chunk_ms", [80, 320])
def test_reply_is_heard_soon_and_whole(panel, fake, chunk_ms):
    panel.start()
    tapped = answer_whole(fake, panel, chunk_ms=chunk_ms, seconds=1.6, pace=1.0)
    delays = [tapped.first_at_ms - fake.spoke_at_ms[0]]
    assert_is_reply(tapped, fake.plan.reply.tone())
    stats = panel.ask("stats()")
    assert stats["underruns"] == 0
    assert stats["bufferMs"] == 120
    (item,) = stats["items"].values()
    assert item["playedMs"] == pytest.approx(1600)
    assert 30 <= item["startedAt"] - item["arrivedAt"] <= 60
    last = panel.page.evaluate("() => [...antiphonCall.lastReply().samples]")
    np.testing.assert_allclose(last, fake.plan.reply.tone() / 32768, atol=1e-7)
    assert fake.of_type("conversation.item.truncate") == []
    playback = fake.of_type("antiphon.playback")
    assert playback[-1]["is_playing"] is False
    assert len(playback) >= 5  # every 200 ms and at the end
    for number in (1, 2):
        tapped = answer_whole(fake, panel, chunk_ms=chunk_ms, seconds=0.5, pace=1.0)
        delays.append(tapped.first_at_ms - fake.spoke_at_ms[number])
    assert statistics.median(delays) <= 60  # one may fall into a moment when the machine is busy


def test_a_person_who_speaks_is_let_speak(panel, fake):
    panel.start()
    answer(fake, panel, seconds=6.0, pace=4.0)
    panel.page.wait_for_timeout(700)
    fake.do(fake.calls[0].start_hearing())
    panel.wait_for_state("interrupted")
    panel.wait_for_state("hearing")
    tapped = panel.tapped()
    assert tapped.last_loud_at_ms - fake.started_at_ms[0] <= 60
    assert (
        np.abs(np.diff(tapped.waveform)).max()
        <= np.abs(np.diff(fake.plan.reply.tone() / 32768)).max() + 1e-3
    )
    panel.wait_until("antiphonCall.events.counts()['conversation.item.truncated'] === 1")
    (truncated,) = fake.of_type("conversation.item.truncate")
    heard_ms = len(tapped.sounding) * 1000 / RATE
    assert truncated["audio_end_ms"] == pytest.approx(heard_ms, abs=30)
    assert fake.of_type("response.cancel") == []  # the server knows already
    assert panel.ask("stats()")["flushMs"][0] <= 60
    note = panel.page.locator(".item.assistant .note").inner_text()
    assert note == f"stopped after {truncated['audio_end_ms'] / 1000:.1f} s"
    n_lit = panel.page.locator(".item.assistant .word.heard").count()
    assert 0 < n_lit < panel.page.locator(".item.assistant .word").count()


def test_half_duplex_is_not_interrupted(panel, fake):
    panel.ask("configure({half_duplex: true})")
    panel.start()
    answer(fake, panel, seconds=8.0)
    fake.do(fake.calls[0].send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="i"))
    panel.page.wait_for_timeout(200)
    assert panel.state() == "speaking"


def test_stop_with_escape_and_when_nothing_sounds(panel, fake):
    panel.start()
    panel.page.keyboard.press("Escape")  # nothing to stop: the next reply is not harmed
    assert_is_reply(answer_whole(fake, panel, seconds=0.6, pace=0), fake.plan.reply.tone())
    answer(fake, panel, seconds=8.0, pace=2.0)  # still being sent when it is stopped
    panel.page.keyboard.press("Escape")
    panel.wait_for_state("interrupted")
    panel.wait_for_state("listening")
    panel.wait_until("antiphonCall.events.counts()['conversation.item.truncated'] === 1")
    assert len(fake.of_type("response.cancel")) == 1
    assert panel.tapped().sounding.size < 2 * RATE


def test_escape_stops_the_answer_to_what_was_typed(panel, fake):
    fake.plan_reply(seconds=8.0, pace=2.0)
    panel.type("hello")
    panel.wait_for_state("speaking")
    assert panel.page.inner_text("#hint") == "Press Esc to stop."
    panel.page.keyboard.type("and m")  # the cursor is still in the text field
    panel.page.keyboard.press("Escape")
    panel.wait_for_state("interrupted")
    panel.wait_for_state("listening")
    assert len(fake.of_type("response.cancel")) == 1
    assert panel.page.input_value("#words") == "and m"


def test_escape_that_ends_the_writing_of_a_word_stops_nothing(panel, fake):
    panel.start()
    answer(fake, panel, seconds=1.5, pace=2.0)
    panel.page.locator("#words").focus()
    panel.page.evaluate(
        "() => document.activeElement.shadowRoot.activeElement.dispatchEvent(new KeyboardEvent("
        "'keydown', { key: 'Escape', isComposing: true, bubbles: true, composed: true }))"
    )
    panel.wait_for_state("listening")
    assert fake.of_type("response.cancel") == []


def test_buffer_grows_when_it_ran_dry(panel, fake):
    panel.start()
    tapped = answer_whole(fake, panel, seconds=1.2, pace=0, pause_at_s=0.4, pause_s=0.9)
    stats = panel.ask("stats()")
    assert stats["underruns"] == 1
    assert stats["bufferMs"] == 140
    steps = np.abs(np.diff(tapped.waveform)).max()
    assert steps <= np.abs(np.diff(fake.plan.reply.tone() / 32768)).max() + 2e-3  # fades, no click
    assert tapped.waveform[tapped.waveform != 0].size >= 1.2 * RATE * 0.99
    assert "gaps 1" in panel.page.inner_text("#facts")
    assert "buffer 140 ms" in panel.page.inner_text("#facts")


def test_words_light_up_and_the_latency_is_split(panel, fake):
    panel.start()
    answer(fake, panel, seconds=3.0)
    panel.wait_until(f"{WORDS}('.word.heard') >= 3 && {WORDS}('.word.heard') < {WORDS}('.word')")
    panel.wait_for_state("listening")
    assert panel.page.locator(".word").count() == panel.page.locator(".word.heard").count()
    legend = panel.page.locator("#legend li").all_inner_texts()
    assert [line.rsplit(" ", 2)[0] for line in legend] == [
        *("end of speech", "tokenise", "first text", "first sound", "network", "buffer"),
    ]
    assert legend[0].endswith("0.42 s")
    assert legend[3].endswith("0.34 s")
    assert "real-time factor 0.42" in panel.page.inner_text("#facts")


def test_spoken_question_is_heard_and_answered(panel, fake):
    fake.plan.hears = True
    fake.plan_reply(seconds=0.8)
    panel.start()
    panel.wait_for_state("hearing")
    panel.wait_for_state("thinking")
    panel.wait_for_state("speaking")
    assert fake.loudest > 0.05
    (update,) = fake.of_type("session.update")[:1]
    audio = update["session"]["audio"]["input"]
    assert audio["format"]["rate"] in (44_100, 48_000)
    assert audio["turn_detection"]["silence_duration_ms"] == 400
    assert audio["turn_detection"]["threshold"] == 0.5
    assert fake.queries[0]["audio"] == "binary"
    assert fake.queries[0]["conversation"] == panel.ask("conversationId()")


def test_push_to_talk(panel, fake):
    fake.plan_reply(seconds=8.0)
    panel.page.locator("#mode-push-to-talk").check()
    panel.start()
    panel.wait_until("antiphonCall.events.counts()['session.updated'] >= 1")
    assert fake.of_type("session.update")[0]["session"]["audio"]["input"]["turn_detection"] is None
    panel.page.wait_for_timeout(300)
    assert fake.heard_samples == 0
    panel.page.keyboard.down("Space")
    panel.wait_for_state("hearing")
    panel.page.wait_for_timeout(500)
    panel.page.keyboard.up("Space")
    panel.wait_for_state("speaking")
    kinds = [e["type"] for e in fake.received if e["type"].startswith(("input", "response"))]
    assert kinds == ["input_audio_buffer.clear", "input_audio_buffer.commit", "response.create"]
    heard = fake.heard_samples
    assert heard >= 0.3 * 44_100
    panel.page.locator("#talk").click()  # a tap: stops the reply and says nothing
    panel.wait_for_notice("too_short")
    panel.wait_for_state("listening")
    assert len(fake.of_type("input_audio_buffer.commit")) == 1
    panel.wait_until("antiphonCall.events.counts()['conversation.item.truncated'] === 1")


def test_mute_keys_and_text_fields(panel, fake):
    panel.start()
    for field in ("#words", "#elsewhere textarea, #elsewhere input"):
        panel.page.locator(field).first.press_sequentially("m m")
        assert panel.page.get_attribute("#mute", "aria-pressed") == "false"
    panel.page.locator("#transcript").focus()
    panel.page.keyboard.press("m")
    assert panel.page.get_attribute("#mute", "aria-pressed") == "true"
    panel.page.wait_for_timeout(100)
    fake.loudest, before = 0.0, fake.heard_samples
    panel.page.wait_for_timeout(1200)
    assert fake.loudest == 0.0  # silence is sent, so that the server's clock goes on
    assert fake.heard_samples - before > 0.8 * 44_100
    panel.page.keyboard.down("Space")  # held: may speak meanwhile
    assert panel.page.get_attribute("#mute", "aria-pressed") == "false"
    panel.page.keyboard.up("Space")
    assert panel.page.get_attribute("#mute", "aria-pressed") == "true"


def test_typing_works_without_a_microphone(panel, fake):
    panel.type("hello")
    panel.wait_for_state("speaking")
    panel.wait_for_state("listening")
    (created,) = fake.of_type("conversation.item.create")
    assert created["item"]["content"] == [{"type": "input_text", "text": "hello"}]
    assert fake.heard_samples == 0
    assert panel.page.locator(".item.user .text").inner_text() == "hello"
    roles = [item["role"] for item in panel.ask("items()")]
    assert roles == ["user", "assistant"]
    panel.page.click("#call")  # and now by voice, in the same call
    panel.wait_until("antiphonCall.stats().framesSent > 5")
    assert len(fake.queries) == 1
    assert panel.page.inner_text("#call") == "Hang up"


def test_typing_into_a_reply_ends_it_and_asks_anew(panel, fake):
    panel.start()
    answer(fake, panel, seconds=8.0, pace=1.0)
    panel.type("something else")
    panel.wait_until("antiphonCall.events.counts()['response.created'] === 2")
    kinds = [e["type"] for e in fake.received if e["type"].startswith(("response", "conv"))]
    wanted = ["response.cancel", "conversation.item.create", "response.create"]
    assert [kind for kind in kinds if kind in wanted] == wanted
    panel.wait_until("antiphonCall.events.counts()['conversation.item.truncated'] === 1")


def test_settings_of_the_page_reach_the_server(panel, fake):
    panel.start()
    panel.ask("configure({temperature: 0.3, top_p: 0.7, max_tokens: 64, seed: -1, speed: 1.2})")
    panel.wait_until("antiphonCall.events.counts()['session.updated'] === 2")
    session = fake.of_type("session.update")[-1]["session"]
    assert session["temperature"] == 0.3
    assert session["max_output_tokens"] == 64
    assert session["antiphon"]["top_p"] == 0.7
    assert session["antiphon"]["seed"] is None
    assert "speed" not in session["audio"]["output"]  # the player's own business


def test_the_pace_of_the_replies_is_kept(panel):
    panel.start()
    panel.page.locator("#settings summary").click()
    panel.page.locator("#pace").fill("1.25")
    panel.wait_until("antiphonCall.settings().speed === 1.25")
    assert panel.page.locator("#pace-value").inner_text().startswith("1.25")
    assert (
        panel.page.evaluate("JSON.parse(localStorage.getItem('antiphon.settings')).speed") == 1.25
    )


def test_events_are_logged_without_their_sound(panel, fake):
    panel.page.evaluate(
        "() => { window.got = []; for (const name of ['state', 'item', 'event'])"
        " addEventListener(`antiphon:${name}`, ({ detail }) => got.push([name, detail])); }"
    )
    panel.start()
    answer_whole(fake, panel, seconds=0.4)
    entries = panel.ask("events.entries()")
    kinds = [entry["type"] for entry in entries]
    assert kinds.index("response.created") < kinds.index("response.done")
    assert {entry["direction"] for entry in entries} == {"in", "out"}
    got = panel.page.evaluate("() => got")
    states = [detail["state"] for name, detail in got if name == "state"]
    assert states == ["connecting", "listening", "thinking", "speaking", "listening"]
    items = [detail for name, detail in got if name == "item"]
    assert items[-1]["status"] == "completed"
    assert items[-1]["details"]["rtf"] == 0.42
