"""Loads a language model and serves it: what `model_server.py` and `antiphon serve` run.

Heavy imports come after the flags and the port are known to be good, so that errors come at once.
"""

import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from antiphon.config import ServerConfig, parse_config, resolve_device, resolve_dtype
from antiphon.errors import AntiphonError
from antiphon.freed_memory import keep_what_exists
from antiphon.logs import configure_logging
from antiphon.server.listener import bind_port

if TYPE_CHECKING:
    from antiphon.engine.local_engine import LocalEngine
    from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer

logger = logging.getLogger(__name__)

DESCRIPTION = "Serve a GLM-4-Voice language model over HTTP."


def serve(config: ServerConfig) -> None:
    """Take the port, load the model and answer requests until Ctrl-C.

    Raises:
        ConfigError: If the port is in use, or dtype or device do not exist here.
        CheckpointError: If the model cannot be loaded.
    """
    with closing(bind_port(config.host, config.port)) as listener:
        from antiphon.server.app import create_app, run_app

        engine, tokenizer = load_engine(config)
        app = create_app(config, engine, tokenizer)
        with keep_what_exists():
            run_app(app, listener, config.log_level)


def load_engine(config: ServerConfig) -> "tuple[LocalEngine, GlmTextTokenizer]":
    """Load the model and start the engine.

    Raises:
        ConfigError: If dtype or device do not exist here.
        CheckpointError: If the model cannot be loaded.
    """
    from antiphon.engine.local_engine import LocalEngine
    from antiphon.models.glm4voice.language_model import load_language_model
    from antiphon.models.glm4voice.loader import default_paths, load_text_tokenizer

    device = resolve_device(config.device)
    dtype = resolve_dtype(config.dtype, device)
    path = config.model_path or default_paths().language_model
    logger.info("loading %s as %s on %s", path, dtype, device)
    tokenizer = load_text_tokenizer(path)
    model = load_language_model(path, dtype, device, progress=sys.stderr.isatty())
    engine = LocalEngine(
        model,
        vocab_size=tokenizer.layout.vocab_size,
        context_length=tokenizer.layout.context_length,
        max_concurrent=config.max_concurrent,
        max_queue=config.max_queue,
        attention=config.attention,
    )
    return engine, tokenizer


def main(argv: Sequence[str] | None = None) -> int:
    """Run the model server from a command line.

    Returns:
        The exit code: 0 after Ctrl-C, 1 after an error, which is told in one line.
    """
    try:
        config = parse_config(ServerConfig, DESCRIPTION, argv)
        configure_logging(config.log_level)
        serve(config)
    except AntiphonError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        logger.info("stopped")
    return 0
