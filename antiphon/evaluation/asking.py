"""Asks a model one spoken question through the whole path, and keeps what was heard."""

from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from antiphon.audio import write_wav
from antiphon.dialogue.events import AudioChunk, TurnDone, TurnFailed, UserTokens
from antiphon.dialogue.session import Session, UserTurn
from antiphon.dialogue.turn_pipeline import TurnOptions, TurnPipeline
from antiphon.errors import AntiphonError
from antiphon.models.base import Waveform
from antiphon.training.synthesis import SAMPLE_RATE


@dataclass(frozen=True)
class Heard:
    """A whole reply: its last event, its sound (n_samples,) and the question's speech tokens."""

    done: TurnDone
    waveform: Waveform
    codes: tuple[int, ...]


async def ask(
    pipeline: TurnPipeline,
    waveform: Waveform,
    session: Session | None = None,
    voice: str | None = None,
) -> Heard:
    """Ask one spoken question, greedily, to be answered in `voice` (None: the model's own).

    Without a session it begins a conversation of its own.

    Raises:
        AntiphonError: If the reply breaks off.
    """
    sound: list[Waveform] = [np.zeros(0, np.float32)]
    codes: tuple[int, ...] = ()
    options = TurnOptions(temperature=0.0, seed=0, max_new_tokens=400, voice=voice)
    turn = UserTurn(waveform=waveform, sample_rate=SAMPLE_RATE)
    async with aclosing(pipeline.respond(session or Session(), turn, options)) as events:
        async for event in events:
            if isinstance(event, UserTokens):
                codes = event.speech_tokens
            elif isinstance(event, AudioChunk):
                sound.append(event.waveform)
            elif isinstance(event, TurnFailed):
                raise AntiphonError(event.message)
            elif isinstance(event, TurnDone):
                return Heard(event, np.concatenate(sound), codes)
    raise AntiphonError("the reply broke off")


def keep(folder: Path, number: int, clip: Waveform, heard: Heard, sample_rate: int) -> None:
    """Write a question and its reply as wav files."""
    folder.mkdir(parents=True, exist_ok=True)
    write_wav(folder / f"{number:03d}-question.wav", clip, SAMPLE_RATE)
    if len(heard.waveform):
        write_wav(folder / f"{number:03d}-reply.wav", heard.waveform, sample_rate)
