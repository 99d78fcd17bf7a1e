"""Fetching checkpoints by hub name, against a small stand-in of the hub on loopback."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants as hub_constants
import pytest

from antiphon.checkpoints import resolve_checkpoint
from antiphon.errors import CheckpointError
from antiphon.models.glm4voice.language_model import load_language_model
from antiphon.models.glm4voice.loader import load_text_tokenizer
from tests.tiny_checkpoints import write_tiny_lm

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/tiny-model"
FILES = {
    "config.json": b'{"model_type": "chatglm"}',
    "model-1-of-2.safetensors": bytes(range(256)) * 400,
    "model-2-of-2.safetensors": bytes(reversed(range(256))) * 900,
    "tokenizer.model": b"AA== 0\n",
    "README.md": b"# not needed",
    "pictures/cat.png": b"\x89PNG",
}
WANTED = {"config.json", "model-1-of-2.safetensors", "model-2-of-2.safetensors", "tokenizer.model"}


@dataclass
class HubState:
    """What the stand-in serves, how it misbehaves and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    cut_once: dict[str, int] = field(default_factory=dict)  # file -> bytes before the line drops
    broken: dict[str, int] = field(default_factory=dict)  # file -> status instead of data
    gated: bool = False
    sent: list[tuple[str, str | None]] = field(default_factory=list)  # (file, Range header)


class HubHandler(BaseHTTPRequestHandler):
    """The few addresses that a snapshot download asks for."""

    protocol_version = "HTTP/1.1"
    state: HubState

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        path = self.path.split("?")[0]
        if self.state.gated:
            headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."}
            self.send(403, b"{}", headers, with_body)
        elif path.startswith(f"/api/models/{NAME}/revision/"):
            self.send_json({"id": NAME, "sha": COMMIT, "siblings": []}, with_body)
        elif path.startswith(f"/api/models/{NAME}/tree/"):
            self.send_json([self.describe(name) for name in self.state.files], with_body)
        elif path.startswith(f"/{NAME}/resolve/"):
            self.send_file(path.removeprefix(f"/{NAME}/resolve/").split("/", 1)[1], with_body)
        else:
            headers = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            self.send(404, b'{"error": "Repository not found"}', headers, with_body)

    def describe(self, name):
        data = self.state.files[name]
        return {"type": "file", "path": name, "size": len(data), "oid": etag_of(data)}

    def send_json(self, content, with_body):
        headers = {"Content-Type": "application/json"}
        self.send(200, json.dumps(content).encode(), headers, with_body)

    def send_file(self, name, with_body):
        data = self.state.files[name]
        if with_body and name in self.state.broken:
            self.send(self.state.broken[name], b"broken", {}, with_body)
            return
        headers = {"ETag": f'"{etag_of(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        asked = self.headers.get("Range")
        status, body = 200, data
        if asked and with_body:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1))
            status, body = 206, data[start:]
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if with_body:
            self.state.sent.append((name, asked))
            if name in self.state.cut_once:
                self.cut_line(status, body, headers, self.state.cut_once.pop(name))
                return
        self.send(status, body, headers, with_body)

    def cut_line(self, status, body, headers, n_bytes):
        """Promise the whole body, send its beginning and hang up."""
        self.send_head(status, len(body), headers)
        self.wfile.write(body[:n_bytes])

    def send(self, status, body, headers, with_body):
        self.send_head(status, len(body), headers)
        if with_body:
            self.wfile.write(body)

    def send_head(self, status, length, headers):
        self.send_response(status)
        always = {"Content-Length": str(length), "Connection": "close"}
        for name, value in {**headers, **always}.items():
            self.send_header(name, value)
        self.end_headers()


def etag_of(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextmanager
def serve(state: HubState) -> Iterator[str]:
    handler = type("Handler", (HubHandler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "hub_cache"
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(folder))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return folder


@pytest.fixture
def hub(monkeypatch):
    state = HubState()
    with serve(state) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield state


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_checkpoint_is_fetched_whole(hub):
    folder = resolve_checkpoint(NAME)
    assert contents(folder) == {name: FILES[name] for name in WANTED}
    assert {name for name, _ in hub.sent} == WANTED


def test_a_second_call_fetches_nothing(hub):
    first = resolve_checkpoint(NAME)
    hub.sent.clear()
    assert resolve_checkpoint(NAME) == first
    assert hub.sent == []


def test_a_language_model_loads_by_its_hub_name(hub, tmp_path):
    folder = write_tiny_lm(tmp_path / "lm")
    hub.files = contents(folder)
    model = load_language_model(NAME, progress=False)
    assert model.config.vocab_size == load_text_tokenizer(NAME).vocab_size


def test_only_the_named_files_are_fetched(hub):
    folder = resolve_checkpoint(NAME, allow_patterns=("tokenizer.model",))
    assert set(contents(folder)) == {"tokenizer.model"}


def test_progress_is_shown(hub, capfd):
    resolve_checkpoint(NAME)
    assert "100%" in capfd.readouterr().err


def test_a_dropped_line_goes_on_where_it_broke_off(hub, monkeypatch):
    monkeypatch.setattr(
        hub_constants, "DOWNLOAD_CHUNK_SIZE", 10_000
    )  # what is kept is whole chunks
    name = "model-2-of-2.safetensors"
    hub.cut_once[name] = 50_000
    folder = resolve_checkpoint(NAME)
    assert (folder / name).read_bytes() == FILES[name]
    assert [asked for sent, asked in hub.sent if sent == name] == [None, "bytes=50000-"]


def test_after_an_interruption_finished_files_are_kept(hub):
    hub.broken["model-2-of-2.safetensors"] = 403
    with pytest.raises(CheckpointError, match=f"downloading {NAME} from .* failed: .*403"):
        resolve_checkpoint(NAME)
    finished = {name for name, _ in hub.sent}
    assert "model-2-of-2.safetensors" not in finished
    hub.broken.clear()
    hub.sent.clear()
    folder = resolve_checkpoint(NAME)
    assert contents(folder) == {name: FILES[name] for name in WANTED}
    assert {name for name, _ in hub.sent} == WANTED - finished


def test_unknown_name_is_said_in_words(hub):
    with pytest.raises(CheckpointError, match="neither a folder here nor a model on http://127"):
        resolve_checkpoint("someone/no-such-model")


def test_gated_checkpoint_is_said_in_words(hub):
    hub.gated = True
    with pytest.raises(CheckpointError, match="accept its licence"):
        resolve_checkpoint(NAME)


def test_invalid_name_is_said_in_words(hub):
    with pytest.raises(CheckpointError, match="valid hub name"):
        resolve_checkpoint("someone/a--b")


def test_hub_that_is_down_is_said_in_words(monkeypatch):
    with serve(HubState()) as address:
        pass  # the port is free again
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(CheckpointError, match=f"{address} cannot be reached and no complete copy"):
        resolve_checkpoint(NAME)


def test_cached_checkpoint_works_while_the_hub_is_down(monkeypatch):
    with serve(HubState()) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        first = resolve_checkpoint(NAME)
    assert resolve_checkpoint(NAME) == first


def test_incomplete_copy_is_not_used_while_the_hub_is_down(monkeypatch):
    state = HubState(broken={"model-2-of-2.safetensors": 403})
    with serve(state) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(CheckpointError):
            resolve_checkpoint(NAME)
    with pytest.raises(CheckpointError, match="no complete copy"):
        resolve_checkpoint(NAME)
