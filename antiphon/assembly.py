"""Puts a whole voice chatbot together: paths, parts, engine, turn pipeline. For programs only.

Load the parts first, then open the pipeline; leaving it stops the engine and the threads.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from antiphon.config import resolve_device, resolve_dtype
from antiphon.dialogue.turn_pipeline import TurnPipeline
from antiphon.engine.base import Engine, WarmableEngine
from antiphon.errors import ConfigError
from antiphon.models.base import SpeechDecoder
from antiphon.models.glm4voice.loader import ModelPaths
from antiphon.models.registry import DEFAULT_MODEL, MODELS, ModelBundle, find_paths, load

ENGINE_CORES = 1
"""What a large decoder leaves to the language model: threads on one core wait for each other."""


@dataclass(frozen=True)
class ModelChoice:
    """Which model, and where it runs.

    Attributes:
        model: A name of the registry, or a folder with lm/, tokenizer/ and decoder/.
        lm: Folder or hub name of another language model.
        tokenizer: Folder or hub name of another speech tokenizer.
        decoder: Folder or hub name of another decoder.
        server: Address of a model server whose language model is used; None runs it here.
        device: auto, cpu or an accelerator.
        dtype: auto or a number format of the language model.
        progress: Show progress bars while loading.
    """

    model: str = DEFAULT_MODEL
    lm: str | None = None
    tokenizer: str | None = None
    decoder: str | None = None
    server: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    progress: bool = False


def choose_paths(choice: ModelChoice) -> ModelPaths:
    """Say where the parts of the chosen model lie.

    Raises:
        ConfigError: If the model is neither a name nor a folder.
        CheckpointError: If the embedded model is wanted and not there.
    """
    if choice.model in MODELS:
        return find_paths(
            choice.model,
            tokenizer_path=choice.tokenizer,
            model_path=choice.lm,
            decoder_path=choice.decoder,
        )
    folder = Path(choice.model)
    if not folder.is_dir():
        raise ConfigError(
            f"no model {choice.model!r}: give a folder with lm/, tokenizer/ and decoder/, or one "
            f"of {', '.join(MODELS)}"
        )
    return ModelPaths(
        speech_tokenizer=choice.tokenizer or str(folder / "tokenizer"),
        language_model=choice.lm or str(folder / "lm"),
        decoder=choice.decoder or str(folder / "decoder"),
    )


def load_parts(choice: ModelChoice) -> ModelBundle:
    """Load all parts that run in this process.

    Raises:
        ConfigError: If the model, device or dtype is unknown.
        CheckpointError: If a part is missing, damaged or does not fit.
    """
    device = resolve_device(choice.device)
    return load(
        paths=choose_paths(choice),
        dtype=resolve_dtype(choice.dtype, device),
        device=device,
        with_language_model=choice.server is None,
        progress=choice.progress,
    )


def open_engine(bundle: ModelBundle, server: str | None) -> Engine:
    """Start the engine for the language model that was loaded, or reach the one at `server`."""
    if bundle.language_model is None:
        from antiphon.engine.remote_engine import RemoteEngine

        if server is None:
            raise ConfigError("no language model was loaded and no model server is named")
        return RemoteEngine(server)
    from antiphon.engine.local_engine import LocalEngine

    layout = bundle.text_tokenizer.layout
    return LocalEngine(
        bundle.language_model,
        vocab_size=layout.vocab_size,
        context_length=layout.context_length,
    )


@contextmanager
def share_decoder(decoder: SpeechDecoder, n_spared: int = 0) -> Iterator[SpeechDecoder]:
    """Let many replies be decoded together, where the decoder can do so, until the context is left.

    A small decoder on a CPU has a thread a core; and replies that begin while more than one a core
    are under way begin with larger blocks.

    Args:
        decoder: A decoder of another kind is given back as it is.
        n_spared: Cores that a large decoder leaves to others, as far as one is left for itself.
    """
    import torch

    from antiphon.engine.cpu_threads import SMALL_MODEL, use_cores_here
    from flow_inference import AudioDecoder, Crowd, DecoderService

    if not isinstance(decoder, AudioDecoder):
        yield decoder
        return
    usual = torch.get_num_threads()
    on_cpu = torch.device(decoder.device).type == "cpu"
    is_small = on_cpu and decoder.n_weights < SMALL_MODEL
    begin = partial(use_cores_here, 1 if is_small else max(usual - n_spared, 1), usual)
    crowd = Crowd(usual + 1) if on_cpu else None
    with DecoderService(
        decoder, begin=begin, n_threads=usual if is_small else 1, crowd=crowd
    ) as service:
        yield service


@asynccontextmanager
async def open_pipeline(
    bundle: ModelBundle, server: str | None = None, engine: Engine | None = None
) -> AsyncIterator[TurnPipeline]:
    """Answer with a loaded model until the context is left.

    Args:
        bundle: The parts; without a language model, `server` must be given.
        server: Address of a model server.
        engine: Use this one, and close it at the end, instead of opening one.
    """
    engine = engine or open_engine(bundle, server)
    try:
        with share_decoder(bundle.decoder, ENGINE_CORES) as decoder:
            pipeline = TurnPipeline(
                engine,
                bundle.text_tokenizer,
                bundle.speech_tokenizer,
                decoder,
                warm_up=engine.warm_up if isinstance(engine, WarmableEngine) else None,
            )
            try:
                yield pipeline
            finally:
                await asyncio.to_thread(pipeline.close)
    finally:
        await engine.close()
