"""The subcommand `antiphon talk`: a spoken call, with microphone and speaker or with files.

The call itself is in antiphon.talk; here are the flags, what is printed and what Ctrl-C does.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.errors import AntiphonError, ConfigError
from antiphon.logs import configure_logging
from antiphon.talk.call_settings import (
    DEFAULT_SENSITIVITY,
    DEFAULT_SILENCE_MS,
    Address,
    CallSettings,
    check_conversation,
)

if TYPE_CHECKING:
    from antiphon.talk.call import Call
    from antiphon.talk.clip_call import ClipCall, ClipTurn
    from antiphon.talk.stop_switch import StopSwitch
    from antiphon.talk.wav_speaker import WavSpeaker

CLIP_RATE = 16_000  # Hz; what the server listens to
SECONDS_DIGITS = 4
EXIT_ERROR, EXIT_INTERRUPTED = 1, 130
DESCRIPTION = """\
Talk to a running page (`antiphon demo`) from a terminal.

With microphone and speaker: just speak; speak again to interrupt. Ctrl-C stops the reply, twice
leaves. Keys: m mutes the microphone, space stops the reply, and with --push-to-talk begins and ends
a question.

With --file: each clip is a question, sent at the pace of speech and ended by its end; --out writes
what a listener would have heard to one wav file, with silence where nothing played. --no-wait sends
as fast as the line allows and leaves the waiting out. Clips belong to one conversation.

--json prints one object a line for each turn: file, heard (what the recogniser understood), text,
audio_s, rtf, tokens, timings (seconds from the end of the speech, as the server counts), heard_s
(from the end of the clip to the first sound played), total_s, status, out, conversation. A turn
that fails gives an object with the key error.
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `antiphon talk`."""
    parser = argparse.ArgumentParser(
        prog="antiphon talk",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_call_flags(parser)
    group = parser.add_argument_group("microphone and speaker")
    group.add_argument("--device-in", metavar="NAME", help="microphone: number or part of a name")
    group.add_argument("--device-out", metavar="NAME", help="speaker, likewise")
    group.add_argument("--list-devices", action="store_true", help="list both and leave")
    group.add_argument("--push-to-talk", action="store_true", help="space begins and ends a turn")
    group.add_argument(
        "--half-duplex", action="store_true", help="do not listen while a reply plays (no headset)"
    )
    group.add_argument(
        "--silence-ms",
        type=int,
        default=DEFAULT_SILENCE_MS,
        help="silence that ends a turn (default: %(default)s)",
    )
    group.add_argument(
        "--sensitivity",
        type=float,
        default=DEFAULT_SENSITIVITY,
        help="of the detector of speech, 0 to 1 (default: %(default)s)",
    )
    group = parser.add_argument_group("files")
    group.add_argument("--file", nargs="+", type=Path, metavar="CLIP", help="questions, see above")
    group.add_argument("--out", type=Path, metavar="WAV", help="where the sound goes")
    group.add_argument("--no-wait", action="store_true", help="faster than speech")
    group.add_argument(
        "--hands-free", action="store_true", help="let the server find the end of each clip"
    )
    group.add_argument("--json", action="store_true", help="print JSON lines, see above")
    return parser


def add_call_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of every call."""
    parser.add_argument("--url", default=Address.url, help="the page (default: %(default)s)")
    parser.add_argument(
        "--insecure", action="store_true", help="take any certificate of an https address"
    )
    parser.add_argument("--conversation", metavar="ID", help="go on with this conversation")
    parser.add_argument("--log", type=Path, metavar="FILE", help="write all events as JSON lines")
    parser.add_argument("--verbose", action="store_true", help="log what happens")
    group = parser.add_argument_group("reply (where not given, the server decides)")
    group.add_argument("--voice", help="a voice of the decoder")
    group.add_argument("--temperature", type=float, help="0: always the likeliest")
    group.add_argument("--top-p", type=float, help="nucleus mass")
    group.add_argument("--max-tokens", type=int, help="text and speech tokens")
    group.add_argument("--seed", type=int, help="repeatable sampling and sound")


def read_settings(options: argparse.Namespace) -> CallSettings:
    """Collect the settings of the call; raises ConfigError if one is not acceptable."""
    by_key = options.push_to_talk or (options.file and not options.hands_free)
    return CallSettings(
        is_hands_free=not by_key,
        is_half_duplex=options.half_duplex,
        sensitivity=options.sensitivity,
        silence_ms=options.silence_ms,
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        seed=options.seed,
        voice=options.voice,
    )


def read_conversation(options: argparse.Namespace) -> str:
    """Take the conversation that is given, or name a new one; raises ConfigError."""
    given: str | None = options.conversation
    return uuid.uuid4().hex if given is None else check_conversation(given)


def check_out(out: Path | None) -> None:
    """Refuse a place where no file can be written, before anything is asked.

    Raises:
        ConfigError: If `out` is a folder, or its folder is missing or may not be written.
    """
    if out is None:
        return
    if out.is_dir() or not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise ConfigError(f"--out {out}: cannot write a file there; name one in a folder that is")


@contextmanager
def stop_on_interrupt(call: "Call", switch: "StopSwitch", left: asyncio.Event) -> Iterator[None]:
    """Let Ctrl-C stop the reply, and set `left` when it means to leave."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def stop() -> None:
        try:
            await call.stop_reply()
        except AntiphonError as error:  # nothing to stop: the connection is gone
            print(f"antiphon: {error}", file=sys.stderr)

    def on_interrupt() -> None:
        if switch.press(call.is_busy):
            left.set()
        else:
            task = loop.create_task(stop())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        for task in tasks:
            task.cancel()


def rounded(seconds: float | None) -> float | None:
    """Cut the noise of a measured time."""
    return None if seconds is None else round(seconds, SECONDS_DIGITS)


def turn_record(turn: "ClipTurn", clip: Path, conversation: str) -> dict[str, object]:
    """Describe one turn as an object for JSON."""
    from antiphon.talk.call_settings import OUTPUT_RATE

    reply = turn.reply
    timings = reply.details.get("timings")
    times = timings if isinstance(timings, dict) else {}
    counts = [reply.details.get(name) for name in ("n_text_tokens", "n_audio_tokens")]
    return {
        "file": str(clip),
        "heard": reply.question,
        "text": reply.text,
        "audio_s": rounded(reply.n_samples / OUTPUT_RATE),
        "rtf": reply.details.get("rtf"),
        "tokens": sum(each for each in counts if isinstance(each, int)),
        "timings": {
            f"{name.removesuffix('_ms')}_s": rounded(value / 1_000)
            for name, value in times.items()
            if isinstance(value, int | float)
        },
        "heard_s": rounded(turn.heard_s),
        "total_s": rounded(turn.total_s),
        "status": reply.status,
        "conversation": conversation,
    }


class ClipTalk:
    """Asks the clips of the command line and prints the answers."""

    def __init__(self, options: argparse.Namespace, call: "Call", clips: "ClipCall") -> None:
        """Use a call that is already running, or will be."""
        self._options = options
        self._call = call
        self._clips = clips
        self.n_failed = 0

    async def run(self) -> None:
        """Ask all clips in order; failures are told and counted in `n_failed`."""
        for path in self._options.file:
            try:
                await self._ask(path)
            except AntiphonError as error:
                self._fail(path, str(error))

    async def _ask(self, path: Path) -> None:
        from antiphon.audio import read_audio

        clip = await asyncio.to_thread(read_audio, path, CLIP_RATE)
        turn = await self._clips.ask(clip)
        if turn.reply.error or not turn.reply.text:
            self._fail(path, turn.reply.error or f"no answer came (status {turn.reply.status})")
        elif self._options.json:
            record = turn_record(turn, path, self._call.conversation)
            out = None if self._options.out is None else str(self._options.out)
            print(json.dumps({**record, "out": out}, ensure_ascii=False), flush=True)
        else:
            heard = f"you: {turn.reply.question}\n" if turn.reply.question else ""
            print(f"{heard}{turn.reply.text}", flush=True)

    def _fail(self, path: Path, message: str) -> None:
        self.n_failed += 1
        if self._options.json:
            record = {"file": str(path), "error": message}
            print(json.dumps(record, ensure_ascii=False), flush=True)
        print(f"antiphon: {path.name}: {message}", file=sys.stderr)


def write_out(speaker: "WavSpeaker", out: Path | None) -> None:
    """Write what was heard where --out says; raises AudioError if that fails."""
    if out is not None and not speaker.write(out) and sys.exception() is None:
        print(f"antiphon: nothing was heard, {out} is not written", file=sys.stderr)


async def talk_with_files(options: argparse.Namespace, settings: CallSettings) -> int:
    """Hold a call with clips; returns the exit code."""
    from antiphon.cli_notices import StandardErrorObserver
    from antiphon.talk.call import Call
    from antiphon.talk.clip_call import ClipCall
    from antiphon.talk.event_log import EventLog
    from antiphon.talk.playback_buffer import PlaybackBuffer
    from antiphon.talk.stop_switch import StopSwitch
    from antiphon.talk.task_race import race
    from antiphon.talk.wav_speaker import WavSpeaker

    playback, left = PlaybackBuffer(), asyncio.Event()
    speaker = WavSpeaker(playback, is_paced=not options.no_wait)
    with EventLog(options.log) as log:
        call = Call(
            Address(options.url, options.insecure),
            settings,
            playback,
            conversation=read_conversation(options),
            input_rate=CLIP_RATE,
            observer=StandardErrorObserver(),
            log=log,
        )
        talk = ClipTalk(options, call, ClipCall(call, CLIP_RATE, not options.no_wait))
        try:
            with stop_on_interrupt(call, StopSwitch(), left):
                await race(talk.run(), call.run(), speaker.run(), left.wait())
        finally:
            write_out(speaker, options.out)
    return EXIT_INTERRUPTED if left.is_set() else min(talk.n_failed, EXIT_ERROR)


async def talk_live(options: argparse.Namespace, settings: CallSettings) -> int:
    """Hold a call with microphone and speaker; returns the exit code."""
    from antiphon.talk.call import Call
    from antiphon.talk.event_log import EventLog
    from antiphon.talk.keyboard import Keyboard
    from antiphon.talk.live_talk import LiveTalk
    from antiphon.talk.playback_buffer import PlaybackBuffer
    from antiphon.talk.sound_devices import SoundDevices
    from antiphon.talk.stop_switch import StopSwitch
    from antiphon.talk.task_race import race
    from antiphon.talk.terminal_view import Notices, TerminalView, make_console

    console = make_console()
    devices = SoundDevices()
    playback, left, notices = PlaybackBuffer(), asyncio.Event(), Notices()
    with (
        devices.open_microphone(options.device_in) as microphone,
        devices.open_speaker(options.device_out, playback) as speaker,
        EventLog(options.log) as log,
        Keyboard() as keyboard,
    ):
        if options.push_to_talk and not keyboard.is_there:
            raise ConfigError(
                "--push-to-talk needs a terminal for its key; leave it out, or --file"
            )
        call = Call(
            Address(options.url, options.insecure),
            settings,
            playback,
            conversation=read_conversation(options),
            input_rate=microphone.sample_rate,
            observer=notices,
            log=log,
        )
        talk = LiveTalk(call, microphone, keyboard)
        view = TerminalView(call, talk, notices, console)
        with stop_on_interrupt(call, StopSwitch(), left):
            await race(talk.run(), call.run(), speaker.run(), view.run(), left.wait())
    console.print(f"conversation {call.conversation}", style="dim", highlight=False)
    return 0


def check_together(options: argparse.Namespace) -> None:
    """Refuse flags that have no sense without --file."""
    if options.file:
        return
    for name in ("out", "no_wait", "hands_free", "json"):
        if getattr(options, name):
            raise ConfigError(f"--{name.replace('_', '-')} belongs to --file")


def main(argv: Sequence[str]) -> int:
    """Run `antiphon talk`.

    Raises:
        AntiphonError: If the call cannot be held, or an option is not acceptable.
    """
    options = build_parser().parse_args(argv)
    configure_logging("INFO" if options.verbose else "ERROR")
    if options.list_devices:
        from antiphon.talk.sound_devices import SoundDevices

        print(SoundDevices().describe())
        return 0
    check_together(options)
    check_out(options.out)
    settings = read_settings(options)
    talk = talk_with_files if options.file else talk_live
    return asyncio.run(talk(options, settings))
