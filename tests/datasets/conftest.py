"""A small HTTP server with the virtues and vices of real ones."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class FileServer(ThreadingHTTPServer):
    """Serves ``content`` at any path.

    ``cut_after`` bytes of a response it hangs up; ``ranges=False`` makes it ignore
    Range; ``modified`` is the time stamp of the content; ``status`` replaces 200.
    ``requests`` collects the headers of the requests, ``sent`` the bytes of each body.
    """

    daemon_threads = True

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.cut_after: int | None = None
        self.ranges = True
        self.modified = 0.0
        self.status = 200
        self.requests: list[dict[str, str]] = []
        self.sent: list[int] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self):
        server = self.server
        server.requests.append({k.lower(): v for k, v in self.headers.items()})
        if server.status != 200:
            return self._reply(server.status, b"<html>no file</html>")
        if not server.ranges or "Range" not in self.headers:
            return self._reply(200, server.content)
        condition = self.headers["If-Unmodified-Since"]
        if parsedate_to_datetime(condition).timestamp() < server.modified:
            return self._reply(412, b"changed")
        return self._reply_range(int(re.findall(r"\d+", self.headers["Range"])[0]))

    def _reply_range(self, start: int):
        content = self.server.content
        if start >= len(content):
            return self._reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        extent = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self._reply(206, content[start:], {"Content-Range": extent})

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None):
        sent = body[: self.server.cut_after]
        # Noted first: a client may be done with the headers alone, and the test look.
        self.server.sent.append(len(sent))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", formatdate(self.server.modified, usegmt=True))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def content() -> bytes:
    """200 kB that differ everywhere, so that a shifted byte is noticed."""
    return b"".join(b"%07d\n" % i for i in range(25_000))


@pytest.fixture
def server(content, monkeypatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = FileServer(content)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def no_network(monkeypatch) -> None:
    """Any request is a failure."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was touched")

    monkeypatch.setattr("requests.sessions.Session.request", refuse)
