"""One conversation: its turns as token ids, its limits, its stop button. No tensors, no text."""

import threading
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from antiphon.dialogue.heard_reply import HeardReply, cut_reply
from antiphon.errors import AudioError, PromptError, ServerBusyError
from antiphon.models.base import TokenLayout, Waveform

TurnKind = Literal["speech", "text"]
DEFAULT_MAX_TURNS = 64


@dataclass(frozen=True, eq=False)
class UserTurn:
    """What the user says: either text or sound.

    Attributes:
        text: Typed words; taken as plain text, special-token spellings included.
        waveform: (n_samples,) or (channels, n_samples) audio in [-1, 1].
        sample_rate: Rate of `waveform` or `speech` in Hz.
        speech: Audio of a user who still speaks, (n,) at a time; its end is the end of speech.
    """

    text: str | None = None
    waveform: Waveform | Tensor | None = None
    sample_rate: int | None = None
    speech: AsyncIterator[Waveform | Tensor] | None = None

    def __post_init__(self) -> None:
        """Raise PromptError or AudioError unless there is exactly one usable input."""
        inputs = (self.text, self.waveform, self.speech)
        if sum(given is not None for given in inputs) != 1:
            raise PromptError("a turn needs either text or a waveform or speech, exactly one")
        if self.text is None and (self.sample_rate is None or self.sample_rate <= 0):
            raise AudioError(f"sound needs its sample rate in Hz, got {self.sample_rate!r}")


@dataclass(frozen=True)
class Turn:
    """One exchange as token ids.

    Attributes:
        kind: Whether the user spoke or typed.
        user_ids: Everything between `<|user|>` and `<|assistant|>`.
        reply_ids: The completion, text and speech tokens, without the id that ended it.
    """

    kind: TurnKind
    user_ids: tuple[int, ...]
    reply_ids: tuple[int, ...] = ()


class Session:
    """The history of one conversation; answers one turn at a time.

    `cancel` may be called from any thread.
    """

    def __init__(self, max_turns: int = DEFAULT_MAX_TURNS, session_id: str | None = None) -> None:
        self.id = session_id or uuid.uuid4().hex
        self.max_turns = max_turns
        self._turns: list[Turn] = []
        self._lock = threading.Lock()
        self._on_cancel: Callable[[], None] | None = None

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The finished turns, oldest first."""
        return tuple(self._turns)

    @property
    def is_answering(self) -> bool:
        """Whether a reply is under way."""
        return self._on_cancel is not None

    def append(self, turn: Turn) -> None:
        """Keep a finished turn; the oldest ones over the limit are forgotten."""
        self._turns.append(turn)
        del self._turns[: -self.max_turns]

    def clear(self) -> None:
        """Forget all turns."""
        self._turns.clear()

    def cut(self, turn: Turn, heard_ms: float, layout: TokenLayout) -> tuple[Turn, HeardReply]:
        """Let the history hold only what was heard of a reply, text and speech tokens.

        Args:
            turn: One of `turns`, the very object; one that is forgotten already stays so.
            heard_ms: Sound of the reply that was played, in ms. Nothing heard leaves a turn with
                an empty reply.
            layout: Tells text from speech.

        Returns:
            The turn that took its place, and what was kept.
        """
        heard = cut_reply(turn.reply_ids, layout, heard_ms)
        shorter = replace(turn, reply_ids=heard.token_ids)
        self._turns = [shorter if each is turn else each for each in self._turns]
        return shorter, heard

    def remove(self, turn: Turn) -> None:
        """Forget one of `turns`, the very object, if it is still there."""
        self._turns = [each for each in self._turns if each is not turn]

    def begin_turn(self, on_cancel: Callable[[], None]) -> None:
        """Claim the session for one reply; `on_cancel` is called when the user stops it.

        Raises:
            ServerBusyError: If another reply is under way.
        """
        with self._lock:
            if self._on_cancel is not None:
                raise ServerBusyError(
                    "this conversation is still answering; wait for the end or stop it"
                )
            self._on_cancel = on_cancel

    def end_turn(self, on_cancel: Callable[[], None]) -> None:
        """Give the session free again, unless a later reply than that of `on_cancel` holds it."""
        with self._lock:
            if self._on_cancel is on_cancel:
                self._on_cancel = None

    def cancel(self) -> None:
        """Stop the reply that is under way, if any; what was said stays in the history."""
        with self._lock:
            if self._on_cancel is not None:
                self._on_cancel()
