"""A voice chatbot that works as the original GLM-4-Voice does, to compare with on one machine.

One request at a time behind a lock, by transformers' `generate`; the whole prompt is read again
each turn; every block of sound is decoded after the whole history, guidance in a pass of its own.
"""

import asyncio
import copy
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Self, TypeVar

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, GlmForCausalLM, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from antiphon.bench.parts import Parts
from antiphon.dialogue.turn_pipeline import TurnPipeline
from antiphon.engine.base import EngineStats, SamplingParams, TokenChunk
from antiphon.engine.sampling import GREEDY_BELOW
from cosyvoice.flow.flow import MaskedDiffWithXvec
from flow_inference import AudioDecoder, BlockSchedule
from flow_inference.original_stream import OriginalStream
from flow_inference.stream import check_tokens

Module = TypeVar("Module", bound=nn.Module)

ORIGINAL_BLOCKS = BlockSchedule((25, 50, 100, 150, 200))
"""Sizes of the blocks in the original's page."""

NOISE_SEED = 42
"""The original draws the same noise for every block."""


class TokenTap(BaseStreamer):
    """Where `generate` puts its tokens: the streamer that hands them to the event loop."""

    def __init__(self) -> None:
        self.tokens: asyncio.Queue[int | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._has_seen_prompt = False

    def put(self, value: Tensor) -> None:
        """Take what `generate` shows: the prompt once, then token after token."""
        if self._has_seen_prompt:
            self._loop.call_soon_threadsafe(self.tokens.put_nowait, int(value))
        self._has_seen_prompt = True

    def end(self) -> None:
        """Say that no more tokens come."""


class LockedEngine:
    """An `Engine` that answers one request at a time and remembers nothing."""

    def __init__(self, model: GlmForCausalLM) -> None:
        self._model = model
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="antiphon-baseline")
        self._n_open = self._n_generated = 0

    async def generate(
        self,
        token_ids: Sequence[int],
        sampling: SamplingParams,
        *,
        request_id: str | None = None,
        session_id: str | None = None,
    ) -> AsyncIterator[TokenChunk]:
        """Wait for the lock, then yield the reply token by token."""
        self._n_open += 1
        try:
            async with self._lock:
                tap, is_unwanted = TokenTap(), threading.Event()
                run = partial(self._run, tuple(token_ids), sampling, tap, is_unwanted)
                running = asyncio.get_running_loop().run_in_executor(self._thread, run)
                running.add_done_callback(lambda _: tap.tokens.put_nowait(None))
                try:
                    while (token_id := await tap.tokens.get()) is not None:
                        self._n_generated += 1
                        yield TokenChunk((token_id,))
                    await running
                finally:
                    is_unwanted.set()
                    await asyncio.wait({running})
        finally:
            self._n_open -= 1

    def _run(
        self,
        token_ids: tuple[int, ...],
        sampling: SamplingParams,
        tap: TokenTap,
        is_unwanted: threading.Event,
    ) -> None:
        """Run `generate` to its end, or until nobody wants more; without stop ids to the limit."""
        is_greedy = sampling.temperature < GREEDY_BELOW
        choice = {} if is_greedy else {"temperature": sampling.temperature, "top_p": sampling.top_p}
        stop_ids = list(sampling.stop_token_ids)
        config = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=sampling.max_new_tokens,
            min_new_tokens=None if stop_ids else sampling.max_new_tokens,
            eos_token_id=stop_ids or None,
            pad_token_id=0,
            do_sample=not is_greedy,
            **choice,
        )
        prompt = torch.tensor([token_ids], device=self._model.device)

        def is_over(ids: Tensor, scores: Tensor) -> Tensor:
            return torch.full((len(ids),), is_unwanted.is_set(), device=ids.device)

        with torch.inference_mode():
            self._model.generate(  # type: ignore[misc]
                prompt,
                attention_mask=torch.ones_like(prompt),
                generation_config=config,
                streamer=tap,
                stopping_criteria=StoppingCriteriaList([is_over]),
            )

    async def cancel(self, request_id: str) -> None:
        """Do nothing: the original cannot be stopped from outside."""

    def stats(self) -> EngineStats:
        """Tell what runs and waits."""
        n_running = min(1, self._n_open)
        return EngineStats(n_running, self._n_open - n_running, self._n_generated)

    async def close(self) -> None:
        """End the thread after the request that runs."""
        await asyncio.to_thread(self._thread.shutdown)


class TwoPasses(nn.Module):
    """An estimator that runs the rows of a batch one after another: two passes where guided."""

    def __init__(self, estimator: nn.Module) -> None:
        super().__init__()
        self.estimator = estimator

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        mu: Tensor,
        t: Tensor,
        spks: Tensor | None,
        cond: Tensor | None,
    ) -> Tensor:
        """Predict the velocity, (B, C, T); see `ConditionalCFM`."""
        given = (x, mask, mu, spks, cond)
        rows = []
        for index in range(len(x)):
            one = [None if each is None else each[index : index + 1] for each in given]
            rows.append(self.estimator(*one[:3], t, *one[3:]))
        return torch.cat(rows)


def in_two_passes(flow: MaskedDiffWithXvec) -> MaskedDiffWithXvec:
    """Give a flow with the same weights whose guidance is not batched."""
    twin, twin.decoder = shallow_copy(flow), shallow_copy(flow.decoder)
    twin.decoder.estimator = TwoPasses(flow.decoder.estimator)
    return twin


def shallow_copy(module: Module) -> Module:
    """Copy a module so that a child of the copy can be replaced; weights are shared."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin


class FullHistoryStream:
    """A `DecoderStreamLike` that cuts and decodes as the original does."""

    def __init__(self, flow: MaskedDiffWithXvec, decoder: AudioDecoder) -> None:
        self._stream = OriginalStream(flow, decoder.hift)
        self._decoder = decoder
        self._waiting: list[int] = []
        self._n_blocks = self._n_decoded = 0

    def push(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """Take speech tokens; return what became final, (n,) float32, maybe nothing."""
        self._waiting += check_tokens(tokens, self._decoder.codebook_size)
        found = [torch.zeros(0)]
        while len(self._waiting) >= (size := ORIGINAL_BLOCKS.size(self._n_blocks)):
            found.append(self._decode(size, is_last=False))
        return torch.cat(found)

    def flush(self) -> Tensor:
        """Decode the rest; as in the original, without one what was held back is lost."""
        return self._decode(len(self._waiting), is_last=True) if self._waiting else torch.zeros(0)

    def _decode(self, n_tokens: int, is_last: bool) -> Tensor:
        device = self._decoder.device
        block, self._waiting = self._waiting[:n_tokens], self._waiting[n_tokens:]
        self._n_decoded, self._n_blocks = self._n_decoded + n_tokens, self._n_blocks + 1
        n_frames = self._decoder.clock.frames(self._n_decoded)
        noise = torch.randn(1, 80, n_frames, generator=torch.Generator().manual_seed(NOISE_SEED))
        token = torch.tensor([block], device=device)
        return self._stream.push(token, noise.to(device), is_last).speech[0].cpu()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing is held beyond the stream itself."""


class FullHistoryDecoder:
    """A `SpeechDecoder` whose streams work as the original's."""

    def __init__(self, decoder: AudioDecoder) -> None:
        self.sample_rate = decoder.sample_rate
        self._decoder = decoder
        self._flow = in_two_passes(decoder.flow)

    def decode(self, tokens: Sequence[int] | Tensor, voice: str | None = None) -> Tensor:
        """Turn the tokens of a whole reply into sound, (n,) float32."""
        return self._decoder.decode(tokens, voice)

    def open_stream(self, voice: str | None = None, seed: int = 0) -> FullHistoryStream:
        """Open the state of one reply; the original has one voice and one seed."""
        return FullHistoryStream(self._flow, self._decoder)


@asynccontextmanager
async def open_baseline(parts: Parts) -> AsyncIterator[TurnPipeline]:
    """Answer as the original does until the context is left."""
    engine = parts.wrap(LockedEngine(parts.language_model))
    pipeline = TurnPipeline(
        engine,
        parts.bundle.text_tokenizer,
        parts.bundle.speech_tokenizer,
        FullHistoryDecoder(parts.decoder),
    )
    try:
        yield pipeline
    finally:
        await engine.close()
        await asyncio.to_thread(pipeline.close)
