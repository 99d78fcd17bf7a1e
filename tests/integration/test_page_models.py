"""The page, the model server and real models in a browser: all that `antiphon demo` starts.

On the embedded model, and on tiny checkpoints that speak noise.
"""

import sys
import threading
from pathlib import Path

import pytest

from antiphon.launcher import Child, Service, wait_until_ready
from tests.integration.test_page import free_port
from tests.page_driver import PageDriver, find_chromium, make_question, open_browser

TINY_REPLY = 40  # tokens: 13 of text, 26 of speech


def model_flags(model: str, tiny: Path) -> list[str]:
    """Give the flags that choose a model; the embedded one needs none."""
    if model == "embedded":
        return []
    folders = {"--model-path": "lm", "--tokenizer-path": "tokenizer", "--flow-path": "decoder"}
    return [part for flag, name in folders.items() for part in (flag, str(tiny / name))]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["embedded", "tiny"])
def test_spoken_question_is_answered_aloud(model, tiny_checkpoints, tmp_path):
    find_chromium()
    flags = model_flags(model, tiny_checkpoints)
    ports = ["--port", str(free_port()), "--server-port", str(free_port())]
    url = f"http://localhost:{ports[1]}"
    command = (sys.executable, "-m", "antiphon", "demo", "--verbose", *ports, *flags)
    microphone = make_question(tmp_path, "What is three plus four?")
    with Child(Service("demo", command, url), tmp_path / "demo.log") as demo:
        wait_until_ready([demo], threading.Event())
        with open_browser(microphone) as browser:
            page = PageDriver(browser, url, locale="en-US")
            page.wait_for_state("idle")  # the model server answers
            if model == "tiny":
                page.limit_tokens(TINY_REPLY)
            page.record(2.5)
            assert page.wait_for_state("done").startswith("Answered")
            page.wait_until_played()
            heard, clip = page.heard(), page.last_clip()
            assert clip.audible_s > 0.3
            assert heard.audible_s == pytest.approx(clip.audible_s, abs=0.3)
            assert page.bubbles()[1].strip()
            assert page.n_players() == 2
            assert page.other_hosts(url) == []
            page.close()
    log = (tmp_path / "demo.log").read_text()
    assert "Traceback" not in log
