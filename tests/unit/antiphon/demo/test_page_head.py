"""The page's script comes first in its head; everything else passes unchanged."""

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi.testclient import TestClient

from antiphon.demo.page_head import PageHead

PAGE = "<html><head><title>页</title></head><body><head></body></html>"


def test_only_the_page_is_changed():
    app = FastAPI()

    @app.get("/", response_class=HTMLResponse)
    @app.get("/other", response_class=HTMLResponse)
    async def page() -> str:
        return PAGE

    app.add_middleware(PageHead, script="first()")
    client = TestClient(app)
    changed = client.get("/")
    assert changed.text == PAGE.replace("<head>", "<head><script>first()</script>", 1)
    assert int(changed.headers["content-length"]) == len(changed.content)
    assert client.get("/other").text == PAGE
    assert client.get("/none").status_code == 404
