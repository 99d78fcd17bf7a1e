"""The page can be built, with and without ffmpeg, and keeps its limits."""

import gradio as gr
import pytest

from antiphon.demo import ui
from antiphon.demo.conversation import Conversation
from antiphon.demo.ui import PageOptions, build_page
from tests.fake_pipeline import FakePipeline


def component(page, elem_id):
    found = [b for b in page.blocks.blocks.values() if getattr(b, "elem_id", None) == elem_id]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("has_ffmpeg", [True, False])
def test_streaming_depends_on_ffmpeg(monkeypatch, has_ffmpeg):
    monkeypatch.setattr(ui.shutil, "which", lambda _: "/bin/ffmpeg" if has_ffmpeg else None)
    page = build_page(FakePipeline(), PageOptions())
    assert component(page, "player").streaming is has_ffmpeg
    notices = [b for b in page.blocks.blocks.values() if getattr(b, "elem_id", "") == "no-ffmpeg"]
    assert len(notices) == (0 if has_ffmpeg else 1)


def test_state_is_per_tab_and_nothing_is_public():
    page = build_page(FakePipeline(), PageOptions())
    states = [b for b in page.blocks.blocks.values() if isinstance(b, gr.State)]
    assert [type(state.value) for state in states] == [Conversation]
    assert {fn.api_visibility for fn in page.blocks.fns.values()} == {"private"}
    assert page.blocks.analytics_enabled is False


def test_limits_follow_the_context():
    small = PageOptions.for_context(1024)
    assert (small.max_new_tokens, small.default_new_tokens) == (1024, 1024)
    large = PageOptions.for_context(8192)
    assert (large.max_new_tokens, large.default_new_tokens) == (8000, 2000)
    slider = component(build_page(FakePipeline(), small), "max-tokens")
    assert (slider.maximum, slider.value) == (1024, 1024)
