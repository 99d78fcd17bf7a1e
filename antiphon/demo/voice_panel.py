"""The live call as a component of the page: a thin Gradio shell around the browser code in panel/.

Knows neither model nor server; the browser code speaks the realtime events over a websocket.
"""

from importlib import resources
from pathlib import Path

import gradio as gr
from fastapi import Response
from fastapi.staticfiles import StaticFiles

PANEL_ID = "voice-panel"
HOST_CLASS = "antiphon-call"
# The shell is drawn by Gradio once; everything inside lives in a shadow tree of the panel's own.
HOST_HTML = f'<div class="{HOST_CLASS}"></div>'
ON_LOAD = f"""
const host = element.querySelector('.{HOST_CLASS}');
const main = new URL(props.static_url + '/panel.js', document.baseURI);
import(main.href).then((panel) => panel.mount(host, {{ ...props }})).catch((error) => {{
  host.setAttribute('role', 'alert');
  host.textContent = 'The live call could not be loaded: ' + error.message;
}});
"""


class PanelFiles(StaticFiles):
    """The browser code, always checked for a newer version, so that no two versions mix."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """Answer with a file and forbid using a stored one unasked."""
        response: Response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        return response


def panel_static_folder() -> Path:
    """Give the folder with the browser code."""
    return Path(str(resources.files("antiphon.demo"))) / "panel"


def panel_static_files() -> PanelFiles:
    """Make the app that serves the browser code; the page mounts it at `static_url`."""
    return PanelFiles(directory=panel_static_folder())


def build_voice_panel(
    *,
    static_url: str = "panel",
    socket_url: str = "v1/realtime",
    conversation_url: str = "conversation",
    model: str = "",
    language: str | None = None,
) -> gr.HTML:
    """Place the live call inside the `gr.Blocks` being built.

    Relative addresses are resolved in the browser against the folder that the page is served from,
    so that they also hold behind a proxy that adds a prefix. The page finds the call's functions at
    `window.antiphonCall` (after the event `antiphon:ready`) and hears `antiphon:state`,
    `antiphon:item`, `antiphon:event` and `antiphon:conversation` on `window`.

    Args:
        static_url: Where `panel_static_files` is mounted.
        socket_url: The realtime websocket; also a whole ws:// or wss:// address.
        conversation_url: Where conversations and their clips are served.
        model: Name of the model to ask for; empty: the server's own.
        language: Language tag of the page, such as zh-CN; None: the browser's.
    """
    return gr.HTML(
        html_template=HOST_HTML,
        js_on_load=ON_LOAD,
        apply_default_css=False,
        elem_id=PANEL_ID,
        static_url=static_url,
        socket_url=socket_url,
        conversation_url=conversation_url,
        model=model,
        language=language,
    )
