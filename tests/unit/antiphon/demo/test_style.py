"""What is written into the page is escaped and complete."""

from antiphon.demo.handlers import Status
from antiphon.demo.live_reply import TokenView
from antiphon.demo.style import CSS, SILENCE, status_html, timings_html
from antiphon.dialogue.events import TurnTimings


def test_status_is_escaped_and_read_aloud():
    shown = status_html(Status("error", "<b>bad</b> & worse"))
    assert "&lt;b&gt;bad&lt;/b&gt; &amp; worse" in shown
    assert 'role="alert"' in shown
    assert 'role="status"' in status_html(Status("busy", "working"))


def test_timings_show_what_did_not_happen_as_a_dash():
    shown = timings_html(TokenView(timings=TurnTimings(0.125, None, 0.5, 1.0, 2.0)))
    assert "0.125 s" in shown
    assert "<span>-</span>" in shown
    assert timings_html(TokenView()) == ""
    assert timings_html(None) == ""


def test_the_page_brings_all_it_needs():
    assert "http" not in CSS
    assert "@import" not in CSS
    assert "pause()" in SILENCE
