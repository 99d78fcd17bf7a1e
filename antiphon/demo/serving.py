"""Puts the page on a port and takes it down again, leaving no file behind. Knows no model."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from gradio.networking import setup_tunnel

from antiphon.config import DemoConfig
from antiphon.demo.app import PageApp, create_app
from antiphon.demo.callbacks import Check
from antiphon.demo.certificate import self_signed
from antiphon.demo.environment import check_address, temporary_cache
from antiphon.demo.kept_folder import find_kept_folder
from antiphon.demo.layout import PageOptions
from antiphon.demo.ui import Backend, inside_event_loop
from antiphon.demo.web_server import Address, running_server
from antiphon.dialogue.responder import Responder, Transcribe
from antiphon.dialogue.vad import SileroDetector, SpeechDetector
from antiphon.errors import ConfigError
from antiphon.freed_memory import handing_back
from antiphon.models.base import TokenLayout
from antiphon.realtime.conversation_store import ConversationStore
from antiphon.realtime.kept_conversations import KeptConversations
from antiphon.realtime.parts import RealtimeOptions, RealtimeParts

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Hearing:
    """What calls need besides the pipeline; `RealtimeParts` says more.

    Attributes:
        detector: Finds speech.
        layout: Of the language model's vocabulary, to cut interrupted replies.
        transcribe: Writes down what the person said, where the model can.
    """

    detector: SpeechDetector = field(default_factory=SileroDetector)
    layout: TokenLayout | None = None
    transcribe: Transcribe | None = None


def serve(
    pipeline: Responder,
    config: DemoConfig,
    options: PageOptions,
    check: Check | None = None,
    hearing: Hearing | None = None,
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Raises:
        ConfigError: If the address cannot be used.
    """
    with running_page(pipeline, config, options, check, hearing) as url, handing_back():
        _log.info("the page is at %s", url)
        wait_for_signal()
        _log.info("stopping")


@contextmanager
def running_page(
    pipeline: Responder,
    config: DemoConfig,
    options: PageOptions,
    check: Check | None = None,
    hearing: Hearing | None = None,
) -> Iterator[str]:
    """Serve the page while inside; gives its address.

    Raises:
        ConfigError: If the address or the certificate cannot be used.
    """
    check_address(config.host, config.port)
    address = address_of(config)
    hearing = hearing or Hearing()
    with temporary_cache() as folder, closing(open_store(config, hearing, folder)) as store:
        calls = RealtimeParts(
            responder=pipeline,
            store=store,
            detector=hearing.detector,
            layout=hearing.layout,
            transcribe=hearing.transcribe,
            options=RealtimeOptions(voices=options.voices),
        )
        page_options = replace(options, offers_mcp=config.mcp)
        page = inside_event_loop(lambda: create_app(Backend(calls, check), page_options))
        with running_server(page.app, address, page.stop) as url:
            yield share(url, page, config) if config.share else url


def open_store(config: DemoConfig, hearing: Hearing, folder: Path) -> ConversationStore:
    """Open the conversations: in a folder that stays where there is one, else below `folder`.

    Raises:
        ConfigError: If the folder cannot be made.
    """
    kept = find_kept_folder(config)
    if kept is None:
        return ConversationStore(folder / "conversations")
    _log.info("conversations are kept in %s", kept)
    try:
        return KeptConversations(kept, model=str(hearing.layout))
    except OSError as error:
        raise ConfigError(
            f"--conversations {kept}: {error.strerror or error}; "
            "name a folder that can be written to, or '' to keep nothing"
        ) from error


def address_of(config: DemoConfig) -> Address:
    """Choose address and certificate.

    Raises:
        ConfigError: If no certificate can be made.
    """
    if config.ssl_self_signed:
        made = self_signed(config.host)
        _log.info("the certificate's SHA-256 fingerprint is %s", made.fingerprint)
        return Address(config.host, config.port, made.certificate, made.key)
    if config.ssl_certfile is None or config.ssl_keyfile is None:
        return Address(config.host, config.port)
    return Address(config.host, config.port, Path(config.ssl_certfile), Path(config.ssl_keyfile))


def share(url: str, page: PageApp, config: DemoConfig) -> str:
    """Ask Gradio's server for a public link to the page; without one, the page stays local."""
    port = int(url.rstrip("/").rpartition(":")[2])
    try:
        link: str = setup_tunnel(config.host, port, page.share_token, None, None)
    except Exception as error:
        _log.warning("no public link (%s); the page is at %s", error, url)
        return url
    return link


def wait_for_signal() -> None:
    """Wait for Ctrl-C or SIGTERM; must run in the main thread."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
