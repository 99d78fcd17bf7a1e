"""The page can be built, with and without ffmpeg, and keeps its limits."""

import gradio as gr
import pytest

from antiphon.demo import layout
from antiphon.demo.conversation import BrowserTab
from antiphon.demo.layout import PageOptions
from antiphon.demo.ui import Backend, Page, build_page, inside_event_loop
from antiphon.dialogue.vad import SileroDetector
from antiphon.realtime.conversation_store import ConversationStore
from antiphon.realtime.parts import RealtimeParts
from tests.fake_pipeline import FakePipeline


@pytest.fixture
def build(tmp_path):
    def make(options: PageOptions) -> Page:
        parts = RealtimeParts(FakePipeline(), ConversationStore(tmp_path), SileroDetector())
        backend = Backend(parts)
        return inside_event_loop(lambda: build_page(backend, options))

    return make


def component(page, elem_id):
    found = [b for b in page.blocks.blocks.values() if getattr(b, "elem_id", None) == elem_id]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("has_ffmpeg", [True, False])
def test_streaming_depends_on_ffmpeg(build, monkeypatch, has_ffmpeg):
    monkeypatch.setattr(layout.shutil, "which", lambda _: "/bin/ffmpeg" if has_ffmpeg else None)
    page = build(PageOptions())
    assert component(page, "player").streaming is has_ffmpeg
    notices = [b for b in page.blocks.blocks.values() if getattr(b, "elem_id", "") == "no-ffmpeg"]
    assert len(notices) == (0 if has_ffmpeg else 1)


def test_state_is_per_tab_and_only_the_endpoints_are_public(build):
    page = build(PageOptions())
    states = [b for b in page.blocks.blocks.values() if isinstance(b, gr.State)]
    assert [type(state.value) for state in states] == [BrowserTab]
    public = {fn.api_name for fn in page.blocks.fns.values() if fn.api_visibility == "public"}
    assert public == {"chat", "voice"}
    assert page.blocks.analytics_enabled is False


def test_limits_follow_the_context(build):
    small = PageOptions.for_context(1024)
    assert (small.max_new_tokens, small.default_new_tokens) == (1024, 1024)
    large = PageOptions.for_context(8192)
    assert (large.max_new_tokens, large.default_new_tokens) == (8000, 2000)
    slider = component(build(small), "max-tokens")
    assert (slider.maximum, slider.value) == (1024, 1024)


@pytest.mark.parametrize(
    ("voices", "is_shown"), [((), False), (("one",), False), (("one", "two"), True)]
)
def test_a_voice_is_chosen_where_there_are_several(build, voices, is_shown):
    voice = component(build(PageOptions(voices=voices)), "voice")
    assert voice.visible is is_shown
    assert voice.value == (voices[0] if is_shown else "")
