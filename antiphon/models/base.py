"""Protocols between the dialogue and any model family. Knows no concrete model."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import Tensor

Waveform = npt.NDArray[np.float32]


class SpeechTokenStreamLike(Protocol):
    """One utterance being heard, samples as they come."""

    def push(self, samples: Tensor | Waveform) -> Tensor:
        """Take (n,) samples of one channel; return the ids that became final, (T,) int64."""
        ...

    @property
    def settled(self) -> Tensor:
        """Ids after the final ones that will most likely stay as they are, (T,) int64."""
        ...

    def finish(self) -> Tensor:
        """Return all ids not given out yet, (T,) int64."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class SpeechEncoder(Protocol):
    """Turns a person's speech into speech tokens."""

    def encode(self, waveform: Tensor | Waveform, sample_rate: int) -> Tensor:
        """Turn (n_samples,) or (channels, n_samples) audio into (T,) int64 codes."""
        ...

    def open_stream(self, sample_rate: int) -> SpeechTokenStreamLike:
        """Open the state of one utterance whose samples come at `sample_rate` Hz."""
        ...


class DecoderStreamLike(Protocol):
    """One reply being turned into sound, block by block."""

    def push(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """Take more speech tokens; return the samples that became final, (n,) float32."""
        ...

    def flush(self) -> Tensor:
        """Return all samples still held back, (n,) float32."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


@runtime_checkable
class SharedStreamLike(Protocol):
    """A stream whose blocks are decoded together with those of other replies.

    Each call gives one result after the other, (n,) float32 each; wait for one before the next is
    asked for. A result that is cancelled while it waits is not computed.
    """

    def submit_push(self, tokens: Sequence[int] | Tensor) -> Iterator[Future[Tensor]]:
        """Take more speech tokens; give a result for each block that they complete."""
        ...

    def submit_flush(self) -> Iterator[Future[Tensor]]:
        """Give the results that hold all samples still held back."""
        ...


class SpeechDecoder(Protocol):
    """Turns speech tokens into sound.

    Its streams may be `SharedStreamLike` besides; then it may be asked by many replies at once.
    Otherwise one thread makes all calls.
    """

    sample_rate: int

    def decode(self, tokens: Sequence[int] | Tensor, voice: str | None = None) -> Tensor:
        """Turn (T,) codes into (n_samples,) float32 at `sample_rate`."""
        ...

    def open_stream(self, voice: str | None = None, seed: int = 0) -> DecoderStreamLike:
        """Open the state of one reply."""
        ...


class TextTokenizer(Protocol):
    """Text to ids and back; user text never becomes special tokens."""

    def encode(self, text: str) -> list[int]:
        """Encode plain text; special-token spellings in it stay plain text."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Decode ids; special tokens are left out, incomplete UTF-8 at the end becomes U+FFFD."""
        ...


@dataclass(frozen=True)
class TokenLayout:
    """Where the special ids of a GLM-4-Voice-style vocabulary lie.

    Attributes:
        prefix: Ids that open every prompt, `[gMASK] <sop>`.
        system, user, assistant, observation: Role ids.
        begin_of_audio, end_of_audio: Ids around a user's speech.
        audio_0: Id of speech token 0; speech token i is `audio_0 + i`.
        n_audio: Number of speech tokens.
        stop: Ids that end a reply (`<|endoftext|>`, `<|user|>`, `<|observation|>`).
        vocab_size: Rows of the embedding.
        context_length: Longest prompt plus reply, in tokens.
        max_turns: Most turns the model has learned to read, the one to answer included; None for
            as many as fit the context.
        interleave: Text and speech tokens in a block, where replies are to keep to them; None
            leaves it to the model, as the original does.
    """

    prefix: tuple[int, ...]
    system: int
    user: int
    assistant: int
    observation: int
    begin_of_audio: int
    end_of_audio: int
    audio_0: int
    n_audio: int
    stop: tuple[int, ...]
    vocab_size: int
    context_length: int
    max_turns: int | None = None
    interleave: tuple[int, int] | None = None


class DialogueTokenizer(TextTokenizer, Protocol):
    """A text tokenizer that knows where the special ids lie."""

    @property
    def layout(self) -> TokenLayout:
        """The special ids of the vocabulary."""
        ...
