"""What is measured: a loaded model and the spoken questions it is asked."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.assembly import open_pipeline
from antiphon.audio import read_audio
from antiphon.dialogue.turn_pipeline import TurnPipeline
from antiphon.engine.base import Engine
from antiphon.engine.local_engine import LocalEngine
from antiphon.errors import ConfigError
from antiphon.models.base import TokenLayout, Waveform
from antiphon.models.registry import ModelBundle
from flow_inference import AudioDecoder

if TYPE_CHECKING:
    from transformers import GlmForCausalLM

CLIP_RATE = 16_000
CLIP_SEED = 5


def as_it_is(engine: Engine) -> Engine:
    """Leave an engine alone."""
    return engine


@dataclass(frozen=True)
class Parts:
    """A model and questions for it.

    Attributes:
        bundle: The loaded model, language model included.
        clips: Spoken questions, (n_samples,) float32 at `CLIP_RATE`.
        wrap: What every engine is wrapped into before it is asked.
    """

    bundle: ModelBundle
    clips: tuple[Waveform, ...]
    wrap: Callable[[Engine], Engine] = as_it_is

    @property
    def layout(self) -> TokenLayout:
        """The special ids of the vocabulary."""
        return self.bundle.text_tokenizer.layout

    @property
    def language_model(self) -> "GlmForCausalLM":
        """The network; not more than one engine may be using it at a time."""
        if self.bundle.language_model is None:
            raise ConfigError("a benchmark needs the language model in its own process")
        return self.bundle.language_model

    @property
    def decoder(self) -> AudioDecoder:
        """The decoder with its weights."""
        assert isinstance(self.bundle.decoder, AudioDecoder)
        return self.bundle.decoder

    def with_wrap(self, wrap: Callable[[Engine], Engine]) -> "Parts":
        """Put another wrapper around the one there is."""
        inner = self.wrap
        return replace(self, wrap=lambda engine: wrap(inner(engine)))

    def open_engine(self, max_concurrent: int = 8, max_queue: int = 32) -> Engine:
        """Start the engine that `antiphon` uses; close it after use."""
        engine = LocalEngine(
            self.language_model,
            vocab_size=self.layout.vocab_size,
            context_length=self.layout.context_length,
            max_concurrent=max_concurrent,
            max_queue=max_queue,
        )
        return self.wrap(engine)

    @asynccontextmanager
    async def open_pipeline(self, max_concurrent: int = 8) -> AsyncIterator[TurnPipeline]:
        """Answer as `antiphon` does until the context is left."""
        engine = self.open_engine(max_concurrent)
        async with open_pipeline(self.bundle, engine=engine) as pipeline:
            yield pipeline


def read_clips(paths: Sequence[str]) -> tuple[Waveform, ...]:
    """Read spoken questions.

    Raises:
        AudioError: If a file cannot be read.
    """
    return tuple(read_audio(Path(path), CLIP_RATE) for path in paths)


def speak_clips(n: int) -> tuple[Waveform, ...]:
    """Let synthesisers ask the first `n` questions of a fixed list.

    Raises:
        ConfigError: If there are none to ask, or the synthesisers are not installed.
    """
    if n < 1:
        raise ConfigError(f"--n-clips {n} must be at least 1")
    from antiphon.evaluation.questions import draw_questions
    from antiphon.training.synthesis import require_synthesisers

    require_synthesisers()
    return tuple(question.speak() for question in draw_questions("training", n, CLIP_SEED))
