"""The subcommand `antiphon ask`: questions as clips or text in, text and a wav file out.

Each question is independent: the model is loaded once, the conversation starts anew.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from antiphon.errors import AntiphonError
from antiphon.logs import configure_logging

if TYPE_CHECKING:
    from antiphon.dialogue.events import TurnDone
    from antiphon.dialogue.session import UserTurn
    from antiphon.dialogue.turn_pipeline import TurnOptions, TurnPipeline
    from antiphon.models.base import Waveform
    from antiphon.models.registry import ModelBundle

AUDIO_SUFFIXES = frozenset(
    (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".webm", ".aac", ".mp4")
)
CLIP_RATE = 16_000  # Hz; what speech tokenizers take
WARM_UP_TOKENS = 40  # 13 text and 26 speech tokens: one block of sound
SECONDS_DIGITS = 4
DESCRIPTION = """\
Ask questions by clip or text and get the answers as text, and as a wav file with --out.

A question that is a file, or ends like an audio file (.wav, .mp3, ...), is a clip; anything else is
text. Several questions are independent: each starts a new conversation.

--out names one wav file. With several questions reply.wav becomes reply-1.wav, reply-2.wav, ...; a
folder (or a name without ending) gets reply-1.wav, reply-2.wav, ... inside.

--json prints one object a line for each question, in order: text, audio_s, rtf, tokens (text and
speech together), timings. Timings count seconds from the moment the clip is read, or the text is
there: tokenise_s and prefill_s are durations, first_text_s, first_audio_s and total_s points in
time; rtf is total_s / audio_s. A question that fails gives an object with the key error.

After loading, one short question is answered unheard, before the first clip is read, so that
first_audio_s shows what a running process takes; --no-warm-up leaves it out.
"""


@dataclass(frozen=True)
class Answer:
    """One answered question: its last event and all of its sound, (n_samples,) float32."""

    done: "TurnDone"
    waveform: "Waveform"


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `antiphon ask`."""
    parser = argparse.ArgumentParser(
        prog="antiphon ask",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("questions", nargs="+", metavar="CLIP|TEXT")
    parser.add_argument("--out", type=Path, metavar="PATH", help="where the sound goes, see above")
    parser.add_argument("--json", action="store_true", help="print JSON lines, see above")
    parser.add_argument("--verbose", action="store_true", help="log what happens")
    parser.add_argument("--no-warm-up", action="store_true", help="ask the first question cold")
    add_model_flags(parser)
    add_sampling_flags(parser)
    return parser


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose the model and where it runs."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default="embedded",
        metavar="NAME|FOLDER",
        help="a folder with lm/, tokenizer/ and decoder/, or a name (default: %(default)s)",
    )
    for part in ("lm", "tokenizer", "decoder"):
        text = f"folder or hub name of the {part} alone; wins over --model"
        group.add_argument(f"--{part}", metavar="PATH", help=text)
    group.add_argument("--server", metavar="URL", help="use this model server's language model")
    group.add_argument("--device", default="auto", help="auto, cpu or a GPU (default: auto)")
    group.add_argument(
        "--dtype", default="auto", help="number format of the language model (default: auto)"
    )


def add_sampling_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that decide how the reply is drawn."""
    group = parser.add_argument_group("reply")
    group.add_argument("--temperature", type=float, default=0.2, help="0: always the likeliest")
    group.add_argument("--top-p", type=float, default=0.8, help="nucleus mass (default: 0.8)")
    group.add_argument(
        "--max-new-tokens", type=int, default=2000, help="text and speech tokens (default: 2000)"
    )
    group.add_argument("--seed", type=int, help="repeatable sampling and sound")
    group.add_argument("--voice", help="a voice of the decoder")


def is_clip(question: str) -> bool:
    """Tell whether a question names an audio file rather than being text."""
    try:
        return Path(question).is_file() or Path(question).suffix.lower() in AUDIO_SUFFIXES
    except (OSError, ValueError):  # too long or odd for a file name
        return False


def read_question(question: str) -> "UserTurn":
    """Read a clip, or take the text as it is.

    Raises:
        AudioError: If the clip cannot be used.
    """
    from antiphon.audio import read_audio
    from antiphon.dialogue.session import UserTurn

    if not is_clip(question):
        return UserTurn(text=question)
    return UserTurn(waveform=read_audio(question, CLIP_RATE), sample_rate=CLIP_RATE)


def reply_path(out: Path, number: int, n_questions: int) -> Path:
    """Name the file of reply `number`, counted from 1."""
    if out.is_dir() or not out.suffix:
        return out / f"reply-{number}.wav"
    return out if n_questions == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")


async def ask(
    pipeline: "TurnPipeline", user_turn: "UserTurn", options: "TurnOptions", echo: TextIO | None
) -> Answer:
    """Ask one question in a conversation of its own.

    Args:
        pipeline: Answers it.
        user_turn: The question.
        options: How to answer.
        echo: Where text goes as it comes; None for nowhere.

    Raises:
        AntiphonError: If the turn failed.
    """
    import numpy as np

    from antiphon.dialogue.events import AudioChunk, TextDelta, TurnDone, TurnFailed
    from antiphon.dialogue.session import Session

    sound = [np.zeros(0, np.float32)]
    is_line_open = False
    async with aclosing(pipeline.respond(Session(), user_turn, options)) as events:
        async for event in events:
            if isinstance(event, TextDelta) and echo is not None:
                print(event.text, end="", file=echo, flush=True)
                is_line_open = True
            elif isinstance(event, AudioChunk):
                sound.append(event.waveform)
            elif isinstance(event, TurnDone | TurnFailed):
                break
    if is_line_open:
        print(file=echo)
    if isinstance(event, TurnDone):
        return Answer(event, np.concatenate(sound))
    raise AntiphonError(event.message if isinstance(event, TurnFailed) else "the reply broke off")


async def warm_up(pipeline: "TurnPipeline") -> None:
    """Answer a second of near silence, so that everything lazy is done before the first clip."""
    import numpy as np

    from antiphon.dialogue.session import UserTurn
    from antiphon.dialogue.turn_pipeline import TurnOptions

    hum = 0.01 * np.sin(np.arange(CLIP_RATE) / 10).astype(np.float32)
    user_turn = UserTurn(waveform=hum, sample_rate=CLIP_RATE)
    await ask(pipeline, user_turn, TurnOptions(max_new_tokens=WARM_UP_TOKENS, seed=0), None)


def rounded(seconds: float | None) -> float | None:
    """Cut the noise of a measured time."""
    return None if seconds is None else round(seconds, SECONDS_DIGITS)


def json_line(done: "TurnDone", path: Path | None) -> str:
    """Write one answer as a JSON object."""
    timings = {name: rounded(value) for name, value in asdict(done.timings).items()}
    record = {
        "text": done.text,
        "audio_s": rounded(done.audio_s),
        "rtf": rounded(done.rtf),
        "tokens": done.n_text_tokens + done.n_audio_tokens,
        "timings": timings,
        "stop_reason": done.stop_reason,
        "out": None if path is None else str(path),
    }
    return json.dumps(record, ensure_ascii=False)


def write_reply(answer: Answer, path: Path | None, sample_rate: int) -> Path | None:
    """Write the sound of an answer; returns where, or None if there is nothing to write."""
    from antiphon.audio import write_wav

    if path is None:
        return None
    if not len(answer.waveform):
        print(f"antiphon: the reply has no sound, {path} is not written", file=sys.stderr)
        return None
    write_wav(path, answer.waveform, sample_rate)
    return path


async def answer_one(
    pipeline: "TurnPipeline", question: str, path: Path | None, options: argparse.Namespace
) -> bool:
    """Answer one question on standard output; a failure is told and returned as False."""
    echo = None if options.json else sys.stdout
    try:
        user_turn = await asyncio.to_thread(read_question, question)
        answer = await ask(pipeline, user_turn, options.turn_options, echo)
        written = write_reply(answer, path, pipeline.sample_rate)
    except AntiphonError as error:
        if options.json:
            print(json.dumps({"error": str(error)}, ensure_ascii=False), flush=True)
        print(f"antiphon: {error}", file=sys.stderr)
        return False
    if options.json:
        print(json_line(answer.done, written), flush=True)
    return True


def load_model(options: argparse.Namespace) -> "ModelBundle":
    """Load the parts that the flags name."""
    from antiphon.assembly import ModelChoice, load_parts

    choice = ModelChoice(
        model=options.model,
        lm=options.lm,
        tokenizer=options.tokenizer,
        decoder=options.decoder,
        server=options.server,
        device=options.device,
        dtype=options.dtype,
        progress=sys.stderr.isatty(),
    )
    return load_parts(choice)


async def answer_all(bundle: "ModelBundle", options: argparse.Namespace) -> int:
    """Answer all questions in order; returns 1 if one failed, else 0."""
    from antiphon.assembly import open_pipeline

    async with open_pipeline(bundle, options.server) as pipeline:
        if not options.no_warm_up:
            await warm_up(pipeline)
        n_questions = len(options.questions)
        n_failed = 0
        for number, question in enumerate(options.questions, start=1):
            path = options.out and reply_path(options.out, number, n_questions)
            n_failed += not await answer_one(pipeline, question, path, options)
    return min(n_failed, 1)


def prepare_out(out: Path | None) -> None:
    """Make the folder that --out names, or lies in.

    Raises:
        AntiphonError: If it cannot be made.
    """
    if out is None:
        return
    folder = out if out.is_dir() or not out.suffix else out.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AntiphonError(f"--out {out}: cannot make {folder}: {error.strerror}") from error


def main(argv: Sequence[str]) -> int:
    """Run `antiphon ask`.

    Raises:
        AntiphonError: If the model cannot be loaded or an option is not acceptable.
    """
    options = build_parser().parse_args(argv)
    configure_logging("INFO" if options.verbose else "WARNING")
    from antiphon.dialogue.turn_pipeline import TurnOptions

    options.turn_options = TurnOptions(
        temperature=options.temperature,
        top_p=options.top_p,
        max_new_tokens=options.max_new_tokens,
        seed=options.seed,
        voice=options.voice,
    )
    prepare_out(options.out)
    return asyncio.run(answer_all(load_model(options), options))
