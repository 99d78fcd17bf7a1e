"""What answers a turn, as those who ask see it."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from antiphon.dialogue.events import Event
from antiphon.dialogue.session import Session, UserTurn
from antiphon.dialogue.turn_pipeline import TurnOptions


class Responder(Protocol):
    """Answers turns; `TurnPipeline` is one."""

    def respond(
        self, session: Session, user_turn: UserTurn, options: TurnOptions | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of one turn; closing it early ends the turn."""
        ...


class Transcribe(Protocol):
    """Writes down what speech tokens say, where a model has a part that can."""

    def __call__(self, codes: Sequence[int]) -> str:
        """Write down (T,) speech tokens; called in a thread, one call at a time."""
        ...
