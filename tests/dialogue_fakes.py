"""Stand-ins for the parts of a turn pipeline: scripted tokens, bytes as text, numbers as sound."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from torch import Tensor

from antiphon.engine.base import EngineStats, FinishReason, SamplingParams, TokenChunk
from antiphon.errors import AntiphonError, AudioError
from antiphon.models.base import TokenLayout, Waveform

LAYOUT = TokenLayout(
    prefix=(258, 260),
    system=262,
    user=263,
    assistant=264,
    observation=265,
    begin_of_audio=266,
    end_of_audio=267,
    audio_0=300,
    n_audio=64,
    stop=(256, 263, 265),
    vocab_size=370,
    context_length=1024,
)
SAMPLES_PER_TOKEN = 1764  # 22,050 Hz / 12.5 Hz


def audio_ids(*codes: int) -> list[int]:
    """Turn speech tokens into ids."""
    return [LAYOUT.audio_0 + code for code in codes]


class ByteTokenizer:
    """One id for each byte of UTF-8."""

    def __init__(self, layout: TokenLayout = LAYOUT) -> None:
        self.layout = layout

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, token_ids: Sequence[int]) -> str:
        return bytes(i for i in token_ids if i < 256).decode(errors="replace")


@dataclass
class FakeEngine:
    """Says a script, one chunk a token, and remembers what was asked and how it ended."""

    script: Sequence[int] = ()
    finish: FinishReason | None = "stop"
    error_at: int | None = None
    error: Exception | None = None
    hang_at: int | None = None
    delay_s: float = 0.0
    prompts: list[list[int]] = field(default_factory=list)
    samplings: list[SamplingParams] = field(default_factory=list)
    session_ids: list[str | None] = field(default_factory=list)
    n_open: int = 0
    n_sent: int = 0

    async def generate(
        self,
        token_ids: Sequence[int],
        sampling: SamplingParams,
        *,
        request_id: str | None = None,
        session_id: str | None = None,
    ) -> AsyncIterator[TokenChunk]:
        self.prompts.append(list(token_ids))
        self.samplings.append(sampling)
        self.session_ids.append(session_id)
        self.n_open += 1
        try:
            script = list(self.script)[: sampling.max_new_tokens]
            for number, token_id in enumerate(script):
                await asyncio.sleep(self.delay_s)
                if number == self.error_at and self.error is not None:
                    raise self.error
                if number == self.hang_at:
                    await asyncio.sleep(3600)
                is_last = number == len(script) - 1
                is_cut = is_last and len(script) < len(self.script)
                finish = ("length" if is_cut else self.finish) if is_last else None
                self.n_sent += 1
                yield TokenChunk((token_id,), finish)
        finally:
            self.n_open -= 1

    async def cancel(self, request_id: str) -> None: ...

    def stats(self) -> EngineStats:
        return EngineStats(self.n_open, 0, self.n_sent)

    async def close(self) -> None: ...


class FakeSpeechTokenizer:
    """Gives one code for each 1280 samples at 16 kHz."""

    def __init__(self, codes: Sequence[int] | None = None) -> None:
        self.codes = codes
        self.threads: set[str] = set()
        self.n_open = 0

    def encode(self, waveform: Tensor | Waveform, sample_rate: int) -> Tensor:
        self.threads.add(threading.current_thread().name)
        if not len(waveform):
            raise AudioError("the clip is empty")
        if self.codes is not None:
            return torch.tensor(self.codes, dtype=torch.int64)
        n_codes = -(-len(waveform) * 16_000 // (sample_rate * 1280))
        return torch.arange(n_codes) % 64

    def open_stream(self, sample_rate: int) -> "FakeTokenStream":
        return FakeTokenStream(self, sample_rate)


class FakeTokenStream:
    """Code n of an utterance is n; codes settle ten at a time and become final at the end."""

    def __init__(self, tokenizer: FakeSpeechTokenizer, sample_rate: int) -> None:
        self._tokenizer, self._sample_rate = tokenizer, sample_rate
        self._waveform = np.zeros(0, np.float32)
        self._is_entered = False

    def push(self, samples: Tensor | Waveform) -> Tensor:
        assert self._is_entered
        self._tokenizer.threads.add(threading.current_thread().name)
        if not np.isfinite(np.asarray(samples)).all():
            raise AudioError("the samples are not numbers")
        self._waveform = np.concatenate([self._waveform, np.asarray(samples)])
        return torch.empty(0, dtype=torch.int64)

    @property
    def settled(self) -> Tensor:
        n_codes = len(self._waveform) * 16_000 // (self._sample_rate * 12_800) * 10
        return torch.arange(n_codes) % 64

    def finish(self) -> Tensor:
        return self._tokenizer.encode(self._waveform, self._sample_rate)

    def __enter__(self) -> Self:
        self._is_entered = True
        self._tokenizer.n_open += 1
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_entered = False
        self._tokenizer.n_open -= 1


class FakeStream:
    """Turns token n into samples of value n / 100, three tokens late."""

    HELD = 3

    def __init__(self, decoder: "FakeDecoder") -> None:
        self._decoder = decoder
        self._held: list[int] = []
        self._is_entered = False

    def push(self, tokens: Sequence[int] | Tensor) -> Tensor:
        self._work()
        self._decoder.pushed.append(list(tokens))
        self._held += list(tokens)
        ready, self._held = self._held[: -self.HELD], self._held[-self.HELD :]
        return self._sound(ready)

    def flush(self) -> Tensor:
        self._work()
        self._decoder.n_flushed += 1
        ready, self._held = self._held, []
        return self._sound(ready)

    def _work(self) -> None:
        assert self._is_entered
        assert self._decoder.n_working == 0, "two calls at once"
        self._decoder.n_working += 1
        self._decoder.threads.add(threading.current_thread().name)
        time.sleep(self._decoder.push_s)
        self._decoder.n_working -= 1
        if self._decoder.error is not None:
            raise self._decoder.error

    @staticmethod
    def _sound(codes: list[int]) -> Tensor:
        return torch.tensor(codes, dtype=torch.float32).repeat_interleave(SAMPLES_PER_TOKEN) / 100

    def __enter__(self) -> Self:
        assert not self._is_entered
        self._is_entered = True
        self._decoder.n_open += 1
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._decoder.n_working == 0, "left while working"
        self._is_entered = False
        self._decoder.n_open -= 1


@dataclass
class FakeDecoder:
    """Opens fake streams and counts them."""

    sample_rate: int = 22_050
    push_s: float = 0.0
    error: AntiphonError | None = None
    open_error: AntiphonError | None = None
    n_open: int = 0
    n_opened: int = 0
    n_working: int = 0
    n_flushed: int = 0
    pushed: list[list[int]] = field(default_factory=list)
    voices: list[str | None] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)

    def decode(self, tokens: Sequence[int] | Tensor, voice: str | None = None) -> Tensor:
        return FakeStream._sound(list(tokens))

    def open_stream(self, voice: str | None = None, seed: int = 0) -> FakeStream:
        if self.open_error is not None:
            raise self.open_error
        self.voices.append(voice)
        self.n_opened += 1
        return FakeStream(self)


def tone(duration_s: float = 1.0, sample_rate: int = 16_000) -> Waveform:
    """Make a 220 Hz tone, (n_samples,) float32."""
    times = np.arange(round(duration_s * sample_rate)) / sample_rate
    return (0.3 * np.sin(2 * np.pi * 220 * times)).astype(np.float32)
