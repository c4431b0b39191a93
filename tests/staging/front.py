"""A front that stands between a client and the real storage emulator and spoils what it is told to spoil.

It is a stand-in for a Blob service under load or on a bad network, which cannot be had from the emulator.
What it does not spoil it passes on byte for byte, so signatures and ETags are checked by the real thing.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Request:
    """What a client asked for; `path` has no query."""

    method: str
    path: str
    byte_range: str | None


@dataclass(frozen=True)
class Spoil:
    """What goes wrong with one answer."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    reset: bool = False
    truncate: bool = False
    flip: bool = False


Rule = Callable[[Request], Spoil | None]
HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "host")


class Front:
    """The running front: `endpoint` is the account's URL through it, `requests` what came so far."""

    def __init__(self, endpoint: str, rule: Rule) -> None:
        self.rule = rule
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        parts = urlsplit(endpoint)
        self.behind = (parts.hostname or "", parts.port or 80)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}{parts.path}"

    def gets(self, ending: str = ".tar") -> list[Request]:
        return [each for each in self.requests if each.method == "GET" and each.path.endswith(ending)]


@contextmanager
def front(endpoint: str, rule: Rule = lambda _: None) -> Iterator[Front]:
    it = Front(endpoint, rule)
    thread = threading.Thread(target=it.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield it
    finally:
        it.server.shutdown()
        it.server.server_close()
        thread.join()


def handler(of: Front) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path).path
            byte_range = self.headers.get("Range") or self.headers.get("x-ms-range")
            request = Request(self.command, path, byte_range)
            with of.lock:
                of.requests.append(request)
            spoil = of.rule(request) or Spoil()
            if spoil.reset:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            elif spoil.status is not None:
                self.reply(spoil.status, spoil.headers, b"<Error><Code>ServerBusy</Code></Error>", spoil)
            else:
                self.pass_on(body, spoil)

        do_GET = do_HEAD = do_PUT = do_DELETE = answer  # noqa: N815

        def pass_on(self, body: bytes, spoil: Spoil) -> None:
            behind = http.client.HTTPConnection(*of.behind, timeout=30)
            try:
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
                headers["Content-Length"] = str(len(body))
                behind.request(self.command, self.path, body, headers)
                answer = behind.getresponse()
                data = answer.read()
            finally:
                behind.close()
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in HOP}
            self.reply(answer.status, kept, data, spoil, length=answer.getheader("Content-Length"))

        def reply(
            self, status: int, headers: dict[str, str], data: bytes, spoil: Spoil, length: str | None = None
        ) -> None:
            if spoil.flip and data:
                data = bytes([data[0] ^ 1]) + data[1:]
            self.send_response_only(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[: len(data) // 2] if spoil.truncate else data)
            if spoil.truncate:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            return

    return Handler
