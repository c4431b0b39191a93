"""A stand-in of Azure's instance metadata service, written from its public description.

Each node has a path of its own before Azure's: `/n1/metadata/...` is what `vm-n1` would see.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Metadata:
    """The events that all machines are told of, and what was asked for."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.fails_with: int | None = None
        self.url = ""

    def announce(
        self, kind: str, *machines: str, ident: str = "A123-BC45", status: str = "Scheduled"
    ) -> None:
        """The list holds this event, in its newest state."""
        event = {
            "EventId": ident,
            "EventType": kind,
            "EventStatus": status,
            "ResourceType": "VirtualMachine",
            "Resources": list(machines),
            "NotBefore": "Mon, 19 Oct 2026 18:29:47 GMT" if status == "Scheduled" else "",
            "Description": "",
            "EventSource": "Platform",
            "DurationInSeconds": -1,
        }
        self.events = [one for one in self.events if one["EventId"] != ident] + [event]


@contextmanager
def metadata_service() -> Iterator[Metadata]:
    """The service, answering; `%n` in its URL stands for a node's name."""
    state = Metadata()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            node, _, path = self.path.lstrip("/").partition("/")
            state.asked.append(f"{node} {path}")
            status, body = _answer(node, path, state)
            if self.headers.get("Metadata") != "true":
                status, body = 400, "Bad request: the header Metadata: true is missing"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/%n"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(node: str, path: str, state: Metadata) -> tuple[int, str]:
    if state.fails_with is not None:
        return state.fails_with, "no"
    if path == "metadata/scheduledevents?api-version=2020-07-01":
        return 200, json.dumps({"DocumentIncarnation": len(state.events), "Events": state.events})
    if path == "metadata/instance/compute/name?api-version=2021-02-01&format=text":
        return 200, f"vm-{node}"
    return 404, "Not found"
