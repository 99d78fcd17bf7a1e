"""A stand-in for the turn pipeline: answers with known text and a tone, without any model."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import numpy as np

from antiphon.dialogue.events import (
    AudioChunk,
    Event,
    TextDelta,
    TurnDone,
    TurnFailed,
    TurnTimings,
    UserTokens,
)
from antiphon.dialogue.session import Session, Turn, UserTurn
from antiphon.dialogue.turn_pipeline import TurnOptions

RATE = 22_050


@dataclass
class FakePipeline:
    """Says `words` and plays a 440 Hz tone of `n_chunks * chunk_s` seconds, `pace_s` apart.

    A question that contains "fail" ends in `TurnFailed`, one with "break" in a bug's exception.
    """

    words: tuple[str, ...] = ("It is ", "a fine ", "answer ")
    n_chunks: int = 8
    chunk_s: float = 0.4
    pace_s: float = 0.05
    asked: list[UserTurn] = field(default_factory=list)
    options: list[TurnOptions | None] = field(default_factory=list)
    n_closed: int = 0

    @property
    def reply_s(self) -> float:
        """Length of each reply in seconds."""
        return self.n_chunks * self.chunk_s

    async def respond(
        self, session: Session, user_turn: UserTurn, options: TurnOptions | None = None
    ) -> AsyncGenerator[Event, None]:
        """Answer one turn."""
        self.asked.append(user_turn)
        self.options.append(options)
        try:
            if user_turn.speech is not None:
                async for _ in user_turn.speech:
                    pass
            if user_turn.text is None:
                yield UserTokens((11, 12, 13))
            asked = user_turn.text or ""
            if "break" in asked:
                raise RuntimeError("a bug")
            if "fail" in asked:
                yield TextDelta("Half an ", (5,))
                yield TurnFailed("the model server does not answer", TurnTimings(0, 0, 0, None, 0))
                return
            text = ""
            for index in range(self.n_chunks):
                await asyncio.sleep(self.pace_s)
                if index < len(self.words):
                    text += self.words[index]
                    yield TextDelta(self.words[index], (100 + index,))
                yield AudioChunk(self.tone(index), RATE, (200 + index,))
            session.append(Turn("text", (1,), (2,)))
            yield self._done(text)
        finally:
            self.n_closed += 1

    def tone(self, index: int) -> np.ndarray:
        """Chunk `index` of a tone that runs on without a jump."""
        n = round(self.chunk_s * RATE)
        time_s = (np.arange(n) + index * n) / RATE
        return (0.3 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)

    def _done(self, text: str) -> TurnDone:
        timings = TurnTimings(0.01, 0.02, 0.03, 0.05, self.n_chunks * self.pace_s)
        return TurnDone(text, self.reply_s, len(self.words), self.n_chunks, "stop", timings)
