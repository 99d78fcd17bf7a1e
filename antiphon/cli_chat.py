"""The subcommand `antiphon chat`: type, and read or hear the answers; also in a pipe.

The call runs in a thread of its own (antiphon.talk.call_thread); here are typing and printing.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.cli_notices import StandardErrorObserver
from antiphon.cli_talk import add_call_flags, check_out, read_conversation, write_out
from antiphon.errors import AntiphonError, ConfigError
from antiphon.logs import configure_logging
from antiphon.talk.call_settings import Address, CallSettings
from antiphon.talk.call_state import Reply
from antiphon.talk.connection import CallEndedError
from antiphon.talk.event_log import EventLog
from antiphon.talk.playback_buffer import PlaybackBuffer
from antiphon.talk.stop_switch import StopSwitch
from antiphon.talk.wav_speaker import WavSpeaker

if TYPE_CHECKING:
    from antiphon.talk.call import Call
    from antiphon.talk.call_thread import CallThread, SpeakerTask

PROMPT = "you> "
HELP = "/new: a new conversation · /save FILE (.json or text) · /quit · Ctrl-C stops the reply"
EXIT_ERROR = 1
DESCRIPTION = """\
Type questions to a running page (`antiphon demo`); the answers come as they are written.

Commands: /new begins a new conversation, /save FILE writes this one (.json, or plain text),
/quit leaves, as Ctrl-D does. Ctrl-C stops the reply, twice leaves.

In a pipe each line is one question, and each answer one line.

--speak plays the answers; --out writes their sound to one wav file, one after the other.
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `antiphon chat`."""
    parser = argparse.ArgumentParser(
        prog="antiphon chat",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--speak", action="store_true", help="play the answers")
    parser.add_argument("--device-out", metavar="NAME", help="speaker: number or part of a name")
    parser.add_argument("--out", type=Path, metavar="WAV", help="where the sound goes")
    add_call_flags(parser)
    return parser


class ReplyPrinter(StandardErrorObserver):
    """Prints answers as they come."""

    def on_text(self, reply: Reply, delta: str) -> None:
        """Print the next words; an answer stays on one line."""
        print(delta.replace("\n", " "), end="", flush=True)

    def on_reply(self, reply: Reply) -> None:
        """End the line."""
        if reply.text:
            print(flush=True)


@dataclass(frozen=True)
class ChatParts:
    """What lives longer than one conversation."""

    options: argparse.Namespace
    settings: CallSettings
    playback: PlaybackBuffer
    speaker: "SpeakerTask"
    log: EventLog

    def make_call(self, conversation: str) -> "Call":
        """Make the call of a conversation; runs in the call's thread."""
        from antiphon.talk.call import Call

        return Call(
            Address(self.options.url, self.options.insecure),
            self.settings,
            self.playback,
            conversation=conversation,
            observer=ReplyPrinter(),
            log=self.log,
        )


class Leave(Exception):  # noqa: N818 - a wish, not an error
    """The person wants to leave."""


class NewConversation(Exception):  # noqa: N818 - a wish, not an error
    """The person wants to begin anew."""


class Chat:
    """Asks typed lines in one conversation after the other.

    Attributes:
        n_failed: Questions without an answer.
    """

    def __init__(self, parts: ChatParts) -> None:
        """Prepare a chat."""
        self._parts = parts
        self._switch = StopSwitch()
        self.n_failed = 0

    def run(self, lines: Iterator[str], conversation: str) -> None:
        """Ask all lines; raises AntiphonError when the call cannot go on."""
        from antiphon.talk.call_thread import CallThread

        current = ""
        while True:
            make_call = partial(self._parts.make_call, conversation)
            with CallThread(make_call, self._parts.speaker) as thread:
                try:
                    for line in lines:
                        current = line
                        self._take(thread, line.strip())
                    return
                except Leave:
                    return
                except NewConversation:
                    conversation = read_conversation(argparse.Namespace(conversation=None))
                except CallEndedError:  # nobody typed for long: call again, and ask it then
                    lines = chain([current], lines)

    def _take(self, thread: "CallThread", line: str) -> None:
        if line.startswith("/"):
            self._obey(thread, line)
        elif line:
            self._ask(thread, line)

    def _obey(self, thread: "CallThread", line: str) -> None:
        name, _, argument = line.partition(" ")
        if name in {"/quit", "/exit"}:
            raise Leave
        if name == "/new":
            print("antiphon: a new conversation", file=sys.stderr)
            raise NewConversation
        if name == "/save" and argument.strip():
            self._save(thread.call, Path(argument.strip()))
        else:
            print(f"antiphon: {HELP}", file=sys.stderr)

    def _save(self, call: "Call", path: Path) -> None:
        try:
            path.write_text(written(call, path.suffix == ".json"), encoding="utf-8")
            print(f"antiphon: saved {path}", file=sys.stderr)
        except OSError as error:
            print(f"antiphon: cannot write {path}: {error.strerror}", file=sys.stderr)

    def _ask(self, thread: "CallThread", line: str) -> None:
        """Ask one question and wait for its answer, and for its sound where it is played."""
        try:
            reply = self._patiently(thread, ask(thread.call, line))
        except CallEndedError:
            raise
        except AntiphonError as error:
            thread.check()
            reply = Reply(error=str(error))
        if reply.error or not (reply.text or reply.status == "cancelled"):
            self.n_failed += 1
            message = reply.error or f"no answer came (status {reply.status})"
            print(f"antiphon: {message}", file=sys.stderr)

    def _patiently(self, thread: "CallThread", work: Coroutine[None, None, Reply]) -> Reply:
        """Wait for an answer; Ctrl-C stops it, twice leaves."""
        future = thread.submit(work)
        while True:
            try:
                return thread.wait(future)
            except KeyboardInterrupt:
                if self._switch.press(is_busy=True):
                    raise Leave from None
                thread.submit(thread.call.stop_reply())


async def ask(call: "Call", line: str) -> Reply:
    """Ask, wait for the end of the answer and until it was played."""
    await call.wait_connected()
    call.forget_replies()
    await call.say(line)
    reply = await call.wait_reply()
    await call.wait_played()
    return reply


def written(call: "Call", as_json: bool) -> str:
    """Write a conversation as JSON or as plain lines."""
    lines = call.state.transcript.lines
    if as_json:
        items = [asdict(line) for line in lines]
        record = {"conversation": call.conversation, "items": items}
        return json.dumps(record, ensure_ascii=False, indent=2) + "\n"
    return "".join(f"{line.role}: {line.text}\n" for line in lines)


def typed_lines() -> Iterator[str]:
    """Give the lines of standard input, with a prompt and editing on a terminal.

    Ctrl-C drops the line, or leaves where the line is empty and nothing runs.
    """
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    importlib.import_module("readline")  # makes input() edit and remember
    while True:
        try:
            yield input(PROMPT)
        except (EOFError, KeyboardInterrupt):
            print()
            return


@contextmanager
def open_speaker(options: argparse.Namespace, playback: PlaybackBuffer) -> "Iterator[SpeakerTask]":
    """Open what plays: the device for --speak, else one that writes --out or nothing."""
    if not options.speak:
        speaker = WavSpeaker(playback, is_paced=False)
        try:
            yield speaker
        finally:
            write_out(speaker, options.out)
        return
    from antiphon.talk.sound_devices import SoundDevices

    with SoundDevices().open_speaker(options.device_out, playback) as device:
        yield device


def main(argv: Sequence[str]) -> int:
    """Run `antiphon chat`.

    Raises:
        AntiphonError: If the call cannot be held, or an option is not acceptable.
    """
    options = build_parser().parse_args(argv)
    configure_logging("INFO" if options.verbose else "ERROR")
    if options.speak and options.out is not None:
        raise ConfigError("--speak plays and --out writes; choose one of them")
    check_out(options.out)
    settings = CallSettings(
        is_hands_free=False,
        with_sound=options.speak or options.out is not None,
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        seed=options.seed,
        voice=options.voice,
    )
    conversation = read_conversation(options)
    playback = PlaybackBuffer()
    with ExitStack() as stack:
        log = stack.enter_context(EventLog(options.log))
        speaker = stack.enter_context(open_speaker(options, playback))
        chat = Chat(ChatParts(options, settings, playback, speaker, log))
        if sys.stdin.isatty():
            print(f"antiphon: conversation {conversation}; {HELP}", file=sys.stderr)
        chat.run(typed_lines(), conversation)
    return min(chat.n_failed, EXIT_ERROR)
