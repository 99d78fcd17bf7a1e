"""The web application: calls, downloads, the panel's files, and Gradio's page. Knows no port."""

import secrets
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from fastapi import FastAPI

from antiphon.demo.conversation_routes import conversation_router
from antiphon.demo.environment import agents_refusal, check_agents_package
from antiphon.demo.layout import PageOptions
from antiphon.demo.page_head import PageHead
from antiphon.demo.style import page_file, theme
from antiphon.demo.ui import Backend, build_page
from antiphon.demo.voice_panel import panel_static_files
from antiphon.realtime.socket import create_realtime_router

MAX_UPLOAD = "200mb"  # ten minutes of 48 kHz stereo float, and some


@dataclass(frozen=True, eq=False)
class PageApp:
    """The application and what ends it.

    Attributes:
        app: Serves the page.
        blocks: Gradio's part of it.
        share_token: What a public link belongs to.
    """

    app: FastAPI
    blocks: gr.Blocks
    share_token: str

    def stop(self) -> None:
        """End the streams to browsers; called on the event loop when the server stops."""
        self.blocks.close(verbose=False)


def create_app(backend: Backend, options: PageOptions) -> PageApp:
    """Build the application.

    Raises:
        ConfigError: If agents are to be served and what that needs is not installed.
    """
    page = build_page(backend, options)
    app = FastAPI(title=options.title, openapi_url=None)
    app.include_router(conversation_router(backend.calls.store))
    app.include_router(create_realtime_router(backend.calls))
    app.mount("/panel", panel_static_files())
    app.add_middleware(PageHead, script=page_file("page.js"))
    clips = backend.calls.store.root
    mount(app, page.blocks, page.i18n, clips, offers_mcp=options.offers_mcp)
    return PageApp(app, page.blocks, secrets.token_urlsafe(32))


def mount(app: FastAPI, blocks: gr.Blocks, i18n: gr.I18n, clips: Path, *, offers_mcp: bool) -> None:
    """Put Gradio's page at the root of the application, behind all other routes.

    Raises:
        ConfigError: If agents are to be served and Gradio cannot.
    """
    if offers_mcp:
        check_agents_package()
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=["api"],
        run_history=False,
        show_error=False,
        max_file_size=MAX_UPLOAD,
        ssr_mode=False,
        enable_monitoring=False,
        allowed_paths=[str(clips)],
        pwa=False,
        i18n=i18n,
        mcp_server=offers_mcp,
        theme=theme(),
        css=page_file("page.css"),
    )
    if offers_mcp and blocks.mcp_server_obj is None:  # Gradio only notes what went wrong
        raise agents_refusal(blocks.mcp_error or "Gradio gave no reason")
