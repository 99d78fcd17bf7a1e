"""The page in a real browser: record, type, hear, stop, clear; a tone stands in for the model."""

import socket
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from antiphon.config import DemoConfig
from antiphon.demo.layout import PageOptions
from antiphon.demo.serving import running_page
from antiphon.dialogue.turn_pipeline import TurnPipeline
from antiphon.engine.remote_engine import RemoteEngine
from tests.dialogue_fakes import ByteTokenizer, FakeDecoder, FakeSpeechTokenizer
from tests.fake_pipeline import FakePipeline
from tests.page_driver import PageDriver


@pytest.fixture(scope="module")
def pipeline() -> FakePipeline:
    return FakePipeline()


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def url(pipeline) -> Iterator[str]:
    with running_page(pipeline, DemoConfig(port=free_port()), PageOptions()) as address:
        yield address


@pytest.fixture
def page(browser, url, pipeline) -> Iterator[PageDriver]:
    vars(pipeline).update(vars(FakePipeline()))
    driver = PageDriver(browser, url, locale="en-US")
    yield driver
    assert driver.other_hosts(url) == []
    driver.close()


def assert_tone(heard, seconds) -> None:
    """Check that a 440 Hz tone of a length was heard; a starved machine may play it with pauses."""
    assert heard.audible_s == pytest.approx(seconds, abs=0.3)
    spectrum = np.abs(np.fft.rfft(heard.waveform))
    assert spectrum.argmax() * heard.rate / len(heard.waveform) == pytest.approx(440, abs=3)
    assert np.sqrt((heard.waveform**2).mean()) == pytest.approx(0.3 / np.sqrt(2), rel=0.15)


def test_recorded_question_is_answered_aloud(page, pipeline):
    page.record(2.5)
    page.wait_for_text("It is a fine answer")
    assert page.wait_for_state("done").startswith("Answered")
    page.wait_until_played()
    assert_tone(page.heard(), pipeline.reply_s)
    (question,) = pipeline.asked
    assert question.sample_rate == 16_000
    assert len(question.waveform) > 2.0 * 16_000
    assert np.sqrt((question.waveform**2).mean()) > 0.02  # the microphone's voice, not silence
    assert page.n_players() == 2  # what was asked and what was answered


def test_an_uploaded_question_is_answered_and_a_broken_file_refused(page, pipeline, tmp_path):
    spoken, broken = tmp_path / "question.wav", tmp_path / "broken.wav"
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(12_000) / 8_000)
    soundfile.write(spoken, tone.astype(np.float32), 8_000)
    broken.write_bytes(b"RIFF no sound at all")
    page.upload(spoken)
    page.wait_for_text("It is a fine answer")
    page.wait_for_state("done")
    (question,) = pipeline.asked
    assert question.sample_rate == 16_000
    assert len(question.waveform) == pytest.approx(1.5 * 16_000, abs=400)
    spectrum = np.abs(np.fft.rfft(question.waveform))
    assert spectrum.argmax() / 1.5 == pytest.approx(300, abs=5)
    page.upload(broken)
    page.page.get_by_text("broken.wav is damaged or holds no audio of a known format").wait_for()
    assert len(page.bubbles()) == 2


def test_typed_questions_and_a_second_turn(page, pipeline):
    page.type("how are you")
    page.wait_for_text("It is a fine answer")
    page.wait_for_state("done")
    page.wait_until_played()
    assert_tone(page.heard(), pipeline.reply_s)
    pipeline.words = ("Another ", "one")
    page.type("<|system|> and you?")
    page.wait_for_text("Another one")
    page.wait_for_text("<|system|> and you?")
    page.wait_for_state("done")
    assert len(page.bubbles()) == 4
    assert page.n_players() == 2


def test_error_is_said_in_words_and_nothing_is_lost(page, pipeline):
    page.type("hello")
    page.wait_for_state("done")
    page.type("please fail")
    words = page.wait_for_state("error")
    assert "the model server does not answer" in words
    assert "Traceback" not in page.page.content()
    assert page.page.input_value("#text textarea") == "please fail"
    assert len(page.bubbles()) == 4
    page.page.fill("#text textarea", "")
    page.page.click("#send")
    page.page.get_by_text("Record, upload or type a question first.").wait_for()


def test_stop_silences_at_once_and_clear_empties(page, pipeline):
    pipeline.n_chunks, pipeline.chunk_s, pipeline.pace_s = 120, 0.5, 0.2
    page.type("tell me everything")
    page.wait_for_sound()
    page.page.click("#stop")
    page.page.locator("#chat").get_by_text("■ Stopped").wait_for()
    assert page.heard().audible_s < 10.0  # of 60
    page.page.wait_for_timeout(1000)
    assert page.heard().audible_s == 0.0
    assert page.n_players() == 1
    pipeline.n_chunks, pipeline.chunk_s, pipeline.pace_s = 8, 0.4, 0.05
    page.type("and again")
    page.wait_for_state("done")
    assert len(page.bubbles()) == 4
    page.page.click("#clear")
    page.page.get_by_text("The conversation is empty again.").wait_for()
    assert page.bubbles() == []
    assert page.n_players() == 0


def test_model_server_that_is_down_is_said_in_words(browser):
    config = DemoConfig(port=free_port())
    engine = RemoteEngine(f"http://{config.host}:{free_port()}")
    pipeline = TurnPipeline(engine, ByteTokenizer(), FakeSpeechTokenizer(), FakeDecoder())
    with running_page(pipeline, config, PageOptions(), engine.ping) as address:
        driver = PageDriver(browser, address, locale="en-US")
        expected = f"no model server answers at {engine.url}"
        assert expected in driver.wait_for_state("error")  # before anything is asked
        driver.type("hello")
        driver.wait_for_text(f"⚠ No answer: {expected}")
        assert "python model_server.py" in driver.wait_for_state("error")
        assert driver.page.input_value("#text textarea") == "hello"
        driver.close()
    pipeline.close()


def test_chinese_browser_sees_chinese(browser, url, pipeline):
    vars(pipeline).update(vars(FakePipeline()))
    driver = PageDriver(browser, url, locale="zh-CN", viewport={"width": 390, "height": 844})
    driver.page.get_by_role("button", name="发送录音").wait_for()
    driver.type("你好")
    assert driver.wait_for_state("done").startswith("已回答")
    width = driver.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390  # nothing sticks out on a phone
    assert driver.other_hosts(url) == []
    driver.close()
