"""What stands on the terminal in each state of a call."""

import asyncio
import io

import numpy as np
from rich.console import Console

from antiphon.talk.call import Call
from antiphon.talk.call_settings import Address, CallSettings
from antiphon.talk.connection import ServerEvent
from antiphon.talk.live_talk import LiveTalk
from antiphon.talk.terminal_view import Notices, TerminalView, latency_text, meter

TIMINGS = {"endpoint_ms": 400, "first_text_ms": 600, "first_audio_ms": 980.0}


class NoMicrophone:
    sample_rate = 16_000


class NoKeys:
    pass


def make(settings: CallSettings | None = None) -> tuple[Call, TerminalView, Console]:
    from antiphon.talk.playback_buffer import PlaybackBuffer

    notices = Notices()
    call = Call(Address(), settings or CallSettings(), PlaybackBuffer(), observer=notices)
    console = Console(file=io.StringIO(), width=100)
    talk = LiveTalk(call, NoMicrophone(), NoKeys())
    return call, TerminalView(call, talk, notices, console), console


def tell(call: Call, name: str, **fields: object) -> None:
    call.state.apply(ServerEvent(name, {"type": name, **fields}))


def answer(call: Call, status: str = "completed") -> None:
    tell(call, "session.created")
    tell(call, "conversation.item.input_audio_transcription.completed", item_id="u", transcript="?")
    tell(call, "response.created", response={"id": "r"})
    tell(call, "response.output_item.added", item={"id": "a"})
    for index, word in enumerate(("It", " is", " seven.")):
        ours = {"words": [{"text": word, "start_ms": index * 200}]}
        name = "response.output_audio_transcript.delta"
        tell(call, name, item_id="a", delta=word, antiphon=ours)
    response = {"id": "r", "status": status, "antiphon": {"timings": TIMINGS, "rtf": 0.5}}
    call.playback.push("a", np.ones(24_000, np.float32))
    call.playback.end("a")
    call.playback.pull(24_000 // 4)
    tell(call, "response.done", response=response)


def test_words_light_up_as_they_are_heard() -> None:
    call, view, _ = make()
    answer(call)
    assert view.finished() == []  # still plays
    frame = view.frame()
    row = frame.plain.splitlines()[1]
    assert row.endswith("It is seven.")
    dim = [frame.plain[span.start : span.end] for span in frame.spans if "dim" in str(span.style)]
    assert " seven." in dim and " is seven." not in dim
    assert "speaking" in frame.plain


def test_finished_turns_scroll_up_once() -> None:
    call, view, _ = make()
    answer(call)
    call.playback.pull(24_000)
    assert [text.plain for text in view.finished()] == ["you    ?", "model  It is seven."]
    assert view.finished() == []
    frame = view.frame().plain
    assert "It is" not in frame
    assert "endpoint 0.40 s · first text 0.60 s · first sound 0.98 s · RTF 0.50" in frame
    assert "listening" in frame


def test_cut_reply() -> None:
    call, view, _ = make()
    answer(call, "cancelled")
    call.state.cut("a", call.playback.flush().played_ms)
    call.playback.pull(1_000)
    assert view.finished()[1].plain == "model  It is seven.  [cut at 0.3 s]"


def test_states() -> None:
    call, view, _ = make()
    assert "connecting" in view.frame().plain
    tell(call, "session.created")
    for state, words in (("hearing", "hearing you"), ("thinking", "thinking")):
        tell(call, "antiphon.state", state=state)
        assert words in view.frame().plain
    tell(call, "antiphon.queue", position=2)
    assert "place 2 in the queue" in view.frame().plain
    call, view, _ = make(CallSettings(is_hands_free=False))
    tell(call, "session.created")
    assert "space to speak" in view.frame().plain


def test_draws_on_a_terminal() -> None:
    call, view, console = make()
    answer(call)
    call.playback.pull(24_000)

    async def work() -> None:
        task = asyncio.ensure_future(view.run())
        await asyncio.sleep(0.15)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())
    assert "model  It is seven." in console.file.getvalue()


def test_small_texts() -> None:
    assert latency_text({}) == ""
    assert latency_text({"timings": {"endpoint_ms": "x"}}) == ""
    assert (meter(0), meter(1)) == (" ", "█")
