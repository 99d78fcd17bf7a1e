"""The web demo: `python web_demo.py`, next to a running `python model_server.py`."""

import logging
import sys
from collections.abc import Sequence

from antiphon.engine.remote_engine import RemoteEngine

from antiphon.config import DemoConfig, parse_config, resolve_device
from antiphon.demo.serving import serve
from antiphon.demo.ui import PageOptions
from antiphon.dialogue.turn_pipeline import TurnPipeline
from antiphon.errors import AntiphonError
from antiphon.logs import configure_logging
from antiphon.models import registry

log = logging.getLogger("web_demo")


def main(argv: Sequence[str] | None = None) -> int:
    """Load the speech parts, serve the page until Ctrl-C; returns the exit status."""
    try:
        config = parse_config(DemoConfig, "Voice chat in the browser.", argv)
        configure_logging(config.log_level)
        run(config)
    except AntiphonError as error:
        log.error("%s", error)
        return 1
    return 0


def run(config: DemoConfig) -> None:
    """Wire the parts together and serve."""
    paths = registry.find_paths(
        tokenizer_path=config.tokenizer_path,
        model_path=config.model_path,
        decoder_path=config.flow_path,
    )
    device = resolve_device(config.device)
    parts = registry.load(paths=paths, device=device, with_language_model=False)
    pipeline = TurnPipeline(
        RemoteEngine(config.server_url),
        parts.text_tokenizer,
        parts.speech_tokenizer,
        parts.decoder,
    )
    try:
        serve(pipeline, config, PageOptions.for_context(parts.text_tokenizer.layout.context_length))
    finally:
        pipeline.close()


if __name__ == "__main__":
    sys.exit(main())
