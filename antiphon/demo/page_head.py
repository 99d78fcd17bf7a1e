"""Puts a script into the page before anything else runs. Knows nothing of what it does.

Gradio adds what it is given for the head only after it has chosen the language; this comes first.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD = b"<head>"


class PageHead:
    """Middleware: the page at `/` gets a script as the first thing in its head."""

    def __init__(self, app: ASGIApp, script: str) -> None:
        self._app = app
        self._script = HEAD + b"<script>" + script.encode() + b"</script>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; only the page itself is changed on its way back."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def take(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            whole = body.replace(HEAD, self._script, 1)
            size = (b"content-length", str(len(whole)).encode())
            others = [each for each in start["headers"] if each[0].lower() != size[0]]
            await send({**start, "headers": [*others, size]})
            await send({"type": "http.response.body", "body": whole})

        await self._app(scope, receive, take)
