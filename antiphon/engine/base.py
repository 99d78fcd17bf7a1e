"""The engine protocol: token ids in, token ids out. Knows nothing of audio, text or dialogue."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Interleave:
    """Blocks of text and of speech tokens that a reply is built of, in turns.

    In the places of sound only speech tokens and the reply's end may come. In those of text any
    token may: where the text has ended, sound goes on.

    Attributes:
        n_text: Tokens in a block of text, at least 1.
        n_audio: Tokens in a block of sound, at least 1.
        audio_0: Id of the first speech token.
        n_codes: Number of speech tokens.
    """

    n_text: int
    n_audio: int
    audio_0: int
    n_codes: int

    @property
    def codes(self) -> range:
        """Ids of the speech tokens."""
        return range(self.audio_0, self.audio_0 + self.n_codes)

    def is_sound(self, place: int) -> bool:
        """Tell whether the token with this number of a reply, from 0, lies in a block of sound."""
        return place % (self.n_text + self.n_audio) >= self.n_text


@dataclass(frozen=True)
class SamplingParams:
    """How to choose tokens.

    Attributes:
        temperature: Softmax temperature; 0 means greedy.
        top_p: Nucleus mass in (0, 1].
        top_k: Keep this many candidates; 0 keeps all.
        seed: Seed of this request's own generator; None draws one.
        max_new_tokens: Most tokens to generate, at least 1.
        stop_token_ids: Ids that end the reply (the stop id itself is still delivered).
        allowed_token_ids: The only ids to choose from; None allows all.
        interleave: Blocks that the reply has to keep to; None leaves that to the model.
    """

    temperature: float = 0.2
    top_p: float = 0.8
    top_k: int = 0
    seed: int | None = None
    max_new_tokens: int = 2000
    stop_token_ids: tuple[int, ...] = ()
    allowed_token_ids: tuple[int, ...] | None = None
    interleave: Interleave | None = None


@dataclass(frozen=True)
class TokenChunk:
    """New tokens of one reply; `finish_reason` is set on the last chunk (maybe without ids)."""

    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None = None


@dataclass(frozen=True)
class EngineStats:
    """What the engine is doing now."""

    running: int
    waiting: int
    generated_tokens: int


class Engine(Protocol):
    """Generates token ids for many callers.

    `token_ids` is always the full conversation; an engine may reuse what it has cached of it.
    Closing the iterator early cancels the request within one step.
    """

    def generate(
        self,
        token_ids: Sequence[int],
        sampling: SamplingParams,
        *,
        request_id: str | None = None,
        session_id: str | None = None,
    ) -> AsyncIterator[TokenChunk]:
        """Yield the reply to `token_ids` as it is generated.

        Raises:
            PromptError: If the prompt is empty, out of the vocabulary or longer than the context.
            ServerBusyError: If no more requests are accepted.
            EngineError: If the model failed.
        """
        ...

    async def cancel(self, request_id: str) -> None:
        """End a request: its stream closes with "cancelled". Unknown ids are ignored."""
        ...

    def stats(self) -> EngineStats:
        """Tell what runs and waits."""
        ...

    async def close(self) -> None:
        """Stop the engine; running streams end as cancelled."""
        ...


@runtime_checkable
class WarmableEngine(Protocol):
    """An engine that can compute the beginning of a prompt before it is asked."""

    def warm_up(self, token_ids: Sequence[int], session_id: str) -> None:
        """Take what a session's next prompt will most likely begin with; returns at once."""
        ...
