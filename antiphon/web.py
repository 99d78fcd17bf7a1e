"""The web demo as a program: flags to parts to page. Needs a model server beside it.

`python web_demo.py` and `python -m antiphon.web` run it. Heavy imports come after the flags and the
port are known to be good, and inside the folder that Gradio may fill.
"""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.config import DemoConfig, parse_config, resolve_device
from antiphon.demo.environment import check_address, check_agents_package, temporary_cache
from antiphon.errors import AntiphonError
from antiphon.freed_memory import share_heap
from antiphon.logs import configure_logging

if TYPE_CHECKING:
    from antiphon.dialogue.responder import Transcribe
    from antiphon.models.base import SpeechDecoder, SpeechEncoder
    from antiphon.models.glm4voice.loader import ModelPaths

PRIMITIVE_CACHE, N_PRIMITIVES = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128"
"""oneDNN keeps a prepared convolution of every length it has met, 1,024 of them: some 100 MB more
after forty replies of different lengths. With 128 those of the usual blocks stay."""

WARM_UP_RATE = 16_000
WARM_UP_TOKENS = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Load the speech parts and serve the page until Ctrl-C or SIGTERM; returns the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that temporary files go away
    os.environ.setdefault(PRIMITIVE_CACHE, N_PRIMITIVES)  # read when torch first computes
    share_heap()
    try:
        config = parse_config(DemoConfig, "Voice chat in the browser.", argv)
        configure_logging(config.log_level)
        check_address(config.host, config.port)
        if config.mcp:
            check_agents_package()
        with temporary_cache():
            run(config)
    except AntiphonError as error:
        sys.stderr.write(f"web_demo: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def run(config: DemoConfig) -> None:
    """Wire the parts together and serve.

    Raises:
        AntiphonError: If a part cannot be loaded or the address cannot be used.
    """
    from antiphon.assembly import share_decoder
    from antiphon.demo.layout import PageOptions
    from antiphon.demo.serving import Hearing, serve
    from antiphon.dialogue.turn_pipeline import TurnPipeline
    from antiphon.engine.remote_engine import RemoteEngine
    from antiphon.models import registry

    engine = RemoteEngine(config.server_url)
    paths = registry.find_paths(
        tokenizer_path=config.tokenizer_path,
        model_path=config.model_path,
        decoder_path=config.flow_path,
    )
    device = resolve_device(config.device)
    parts = registry.load(paths=paths, device=device, with_language_model=False)
    tokenizer = parts.text_tokenizer
    voices = tuple(getattr(parts.decoder, "voices", ()))
    options = PageOptions.for_context(tokenizer.layout.context_length, voices)
    with share_decoder(parts.decoder) as decoder:
        warm_up(parts.speech_tokenizer, decoder)
        pipeline = TurnPipeline(engine, tokenizer, parts.speech_tokenizer, decoder)
        with closing(pipeline):
            hearing = Hearing(
                layout=tokenizer.layout, transcribe=load_transcriber(parts.speech_tokenizer, paths)
            )
            serve(pipeline, config, options, engine.ping, hearing)


def warm_up(tokenizer: "SpeechEncoder", decoder: "SpeechDecoder") -> None:
    """Hear a hum and speak two blocks, so that no caller waits for what is set up on first use."""
    import torch

    hum = 0.01 * torch.sin(torch.arange(WARM_UP_RATE) / 10)  # a second
    tokenizer.encode(hum.numpy(), WARM_UP_RATE)
    with decoder.open_stream() as stream:
        for _ in range(2):
            stream.push([0] * WARM_UP_TOKENS)
        stream.flush()


def load_transcriber(tokenizer: "SpeechEncoder", paths: "ModelPaths") -> "Transcribe | None":
    """Load the half of the speech tokenizer that writes words down, where it has one."""
    import torch

    from antiphon.evaluation.transcriber import CodeTranscriber
    from antiphon.training.recogniser import RECOGNISER_FILE
    from speech_tokenizer import SpeechTokenizer

    folder = Path(paths.speech_tokenizer)
    if not isinstance(tokenizer, SpeechTokenizer) or not (folder / RECOGNISER_FILE).is_file():
        return None
    codebook = tokenizer.model.codebook.weight.detach().cpu()
    transcriber = CodeTranscriber(folder, codebook)
    return lambda codes: transcriber.transcribe(torch.tensor(codes, dtype=torch.int64))


if __name__ == "__main__":
    sys.exit(main())
