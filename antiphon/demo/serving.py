"""Puts the page on a port and takes it down again, leaving no file behind. Knows no model."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from antiphon.config import DemoConfig
from antiphon.demo.callbacks import Check
from antiphon.demo.environment import check_address, temporary_cache
from antiphon.demo.handlers import Responder
from antiphon.demo.style import CSS, theme
from antiphon.demo.ui import Page, PageOptions, build_page, inside_event_loop
from antiphon.errors import ConfigError

MAX_UPLOAD = "200mb"  # ten minutes of 48 kHz stereo float, and some

_log = logging.getLogger(__name__)


def serve(
    pipeline: Responder, config: DemoConfig, options: PageOptions, check: Check | None = None
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Raises:
        ConfigError: If the address cannot be used.
    """
    with running_page(pipeline, config, options, check) as url:
        _log.info("the page is at %s", url)
        wait_for_signal()
        _log.info("stopping")


@contextmanager
def running_page(
    pipeline: Responder, config: DemoConfig, options: PageOptions, check: Check | None = None
) -> Iterator[str]:
    """Serve the page while inside; gives its address.

    Raises:
        ConfigError: If the address cannot be used.
    """
    check_address(config.host, config.port)
    with temporary_cache() as folder:
        page = build_page(pipeline, replace(options, clip_root=folder), check)
        try:
            yield inside_event_loop(lambda: launch(page, config))
        finally:
            page.blocks.close(verbose=False)


def launch(page: Page, config: DemoConfig) -> str:
    """Start to serve in a thread; returns the page's address.

    Raises:
        ConfigError: If the address cannot be used.
    """
    try:
        _, local_url, share_url = page.blocks.launch(
            server_name=config.host,
            server_port=config.port or None,
            share=config.share,
            prevent_thread_lock=True,
            quiet=True,
            show_error=False,
            max_file_size=MAX_UPLOAD,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            run_history=False,
            footer_links=["settings"],
            i18n=page.i18n,
            theme=theme(),
            css=CSS,
        )
    except OSError as error:
        raise ConfigError(f"cannot serve on {config.host}, port {config.port}: {error}") from error
    return share_url or local_url


def wait_for_signal() -> None:
    """Wait for Ctrl-C or SIGTERM; must run in the main thread."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
