"""What one browser tab owns: the dialogue, the messages on the page and the clips behind them.

Knows nothing of Gradio's components; it is the value of the page's session state.
"""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np

from antiphon.audio import Waveform, write_wav
from antiphon.dialogue.session import Session


class Clip(TypedDict):
    """A sound file inside a message."""

    path: str
    alt_text: str


class Message(TypedDict):
    """One bubble of the chat."""

    role: Literal["user", "assistant"]
    content: list[str | Clip]


@dataclass(eq=False)
class Conversation:
    """The state of one browser tab.

    Attributes:
        clip_root: Folder below which this tab's clips are kept; None: the system's temporary one.
        messages: The bubbles, oldest first.
    """

    clip_root: Path | None = None
    messages: list[Message] = field(default_factory=list)
    _session: Session | None = None
    _folder: Path | None = None
    _n_clips: int = 0
    _stopped: asyncio.Event | None = None
    _settled: asyncio.Event | None = None

    @property
    def session(self) -> Session:
        """The dialogue behind the page, opened when first asked for."""
        if self._session is None:
            self._session = Session()
        return self._session

    @property
    def is_answering(self) -> bool:
        """Whether a turn is under way."""
        return self._settled is not None

    def begin_turn(self) -> asyncio.Event:
        """Note that a turn is under way; returns the event that is set when it must stop."""
        self._stopped, self._settled = asyncio.Event(), asyncio.Event()
        return self._stopped

    def end_turn(self) -> None:
        """Note that the turn is over and wake who waits for that."""
        if self._settled is not None:
            self._settled.set()
        self._stopped = self._settled = None

    def stop(self) -> None:
        """Ask the turn under way, if any, to end at once."""
        if self._stopped is not None:
            self._stopped.set()

    async def settle(self, timeout_s: float) -> None:
        """Wait until no turn is under way, at most `timeout_s` seconds."""
        if self._settled is not None:
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()

    def keep_clip(self, waveform: Waveform, sample_rate: int, name: str) -> Clip:
        """Write a clip that can be replayed and give it as a part of a message."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="antiphon-tab-", dir=self.clip_root))
        self._n_clips += 1
        path = self._folder / f"{self._n_clips:03d}-{name}.wav"
        write_wav(path, np.clip(waveform, -1.0, 1.0), sample_rate)
        return Clip(path=str(path), alt_text=name)

    def clear(self) -> None:
        """Forget the dialogue, the messages and the clips."""
        self.messages = []
        if self._session is not None:
            self._session.clear()
        self.delete_clips()

    def delete_clips(self) -> None:
        """Delete all clips of this tab."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def forget(conversation: Conversation | None) -> None:
    """Stop and tidy up after a tab that is gone."""
    if conversation is not None:
        conversation.stop()
        conversation.delete_clips()
