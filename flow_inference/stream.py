"""All state of one reply that becomes sound while its tokens still come."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from antiphon.errors import EngineError, PromptError
from cosyvoice.flow.solving import Solving
from flow_inference.mel_stream import MelStream
from flow_inference.postfilter import raise_contrast
from flow_inference.vocoder_stream import VocoderStream


def check_tokens(tokens: Sequence[int] | Tensor, codebook_size: int) -> list[int]:
    """Turn speech tokens (T,) or (1, T) into a list, refusing what is none.

    Raises:
        PromptError: If a token is no whole number in [0, codebook_size), or the shape is another.
    """
    tensor = tokens if isinstance(tokens, Tensor) else _as_tensor(tokens)
    if tensor.numel() == 0:
        return []
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise PromptError(f"speech tokens of type {tensor.dtype}; expected whole numbers (int64)")
    if tensor.ndim == 2 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 1:
        raise PromptError(
            f"speech tokens of shape {tuple(tensor.shape)}; expected (T,) or (1, T): one reply"
        )
    low, high = int(tensor.min()), int(tensor.max())
    if low < 0 or high >= codebook_size:
        wrong = low if low < 0 else high
        raise PromptError(
            f"speech token {wrong} is out of range; expected 0 to {codebook_size - 1} "
            "(subtract the id of <|audio_0|> from vocabulary ids)"
        )
    return [int(value) for value in tensor.tolist()]


def _as_tensor(tokens: Sequence[int]) -> Tensor:
    """Make a tensor of plain numbers."""
    try:
        return torch.tensor(list(tokens))
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise PromptError(f"speech tokens are not whole numbers: {error}") from error


@dataclass(frozen=True)
class Voice:
    """How a reply is to sound.

    Attributes:
        speaker: Whose voice it is, (1, spk_embed_dim).
        solving: How its mel is solved.
    """

    speaker: Tensor
    solving: Solving


class BlockRun:
    """One push or flush under way, a block at a time.

    Attributes:
        window: What has to be decoded next; None where only held back sound is left to be spoken.
        voice: Whose voice it is, and how it is to sound.
        vocoder: What speaks it.
        is_last: Whether the reply ends with it.
        is_done: Whether all its sound was given out.
    """

    def __init__(self, mel: MelStream, vocoder: VocoderStream, voice: Voice, is_last: bool) -> None:
        self._mel, self.vocoder, self.is_last = mel, vocoder, is_last
        self.voice = voice
        self.window = mel.last_window() if is_last else mel.next_window()
        self.is_done = self.window is None and not is_last

    def accept(self, mel: Tensor | None) -> Tensor:
        """Speak a block and open the next one.

        Args:
            mel: Of `window`, (80, n); None where there is no window.

        Returns:
            Samples that became final, (m,) float32.
        """
        return self.vocoder.push(self.take(mel), self.is_last)

    def take(self, mel: Tensor | None) -> Tensor:
        """Do as `accept` does, but leave the speaking to the caller.

        Returns:
            Frames for `vocoder`, (80, n).
        """
        final = self._mel.release() if mel is None else self._mel.accept(mel)
        frames = raise_contrast(final, self.voice.solving.contrast)
        self.window = None if self.is_last else self._mel.next_window()
        self.is_done = self.window is None
        return frames

    def finish(self) -> Tensor:
        """Decode everything alone; returns all samples that became final, (n,) float32."""
        samples = [torch.zeros(0)]
        while not self.is_done:
            mel = None if self.window is None else self._mel.decode_window(self.window)
            samples.append(self.accept(mel))
        return torch.cat(samples)


class DecoderStream:
    """One reply: push tokens as they come, flush at its end.

    What is returned depends on tokens and seed alone, not on how they are spread over calls.
    Leaving the `with` block closes the stream and frees its state.
    """

    def __init__(
        self, mel: MelStream, vocoder: VocoderStream, voice: Voice, codebook_size: int
    ) -> None:
        self._mel: MelStream | None = mel
        self._vocoder: VocoderStream | None = vocoder
        self._voice, self._codebook_size = voice, codebook_size

    def push(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """Take more speech tokens; return the samples that became final, (n,) float32, maybe none.

        Raises:
            PromptError: If a token is out of range or no whole number; the stream stays usable.
            EngineError: If the stream is flushed or closed.
        """
        return self.begin_push(tokens).finish()

    def flush(self) -> Tensor:
        """Return all samples held back, (n,) float32, and close the stream.

        Raises:
            EngineError: If the stream is flushed or closed already.
        """
        return self.begin_flush().finish()

    def begin_push(self, tokens: Sequence[int] | Tensor) -> BlockRun:
        """Take tokens as `push` does, but leave the decoding to the caller."""
        mel, vocoder = self._parts()
        mel.take(check_tokens(tokens, self._codebook_size))
        return BlockRun(mel, vocoder, self._voice, is_last=False)

    def begin_flush(self) -> BlockRun:
        """Close the stream as `flush` does, but leave the decoding to the caller."""
        mel, vocoder = self._parts()
        self.close()
        return BlockRun(mel, vocoder, self._voice, is_last=True)

    def close(self) -> None:
        """Free the state; what was held back is lost. A second call does nothing."""
        self._mel = self._vocoder = None

    def _parts(self) -> tuple[MelStream, VocoderStream]:
        """The two stages, if the stream is open."""
        if self._mel is None or self._vocoder is None:
            raise EngineError(
                "this decoder stream is flushed or closed; open a new one for the next reply"
            )
        return self._mel, self._vocoder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
