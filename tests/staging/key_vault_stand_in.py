"""Stand-ins for Azure Key Vault and for a node's managed identity, on loopback.

Written from Microsoft's public description of the Get Secret operation (API version 7.4) and of the
identity endpoint of App Service (2019-08-01), which DefaultAzureCredential asks as it asks a VM's.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "token-for-the-vault"
HEADER = "header-of-this-machine"


class Vault:
    """What the servers were asked, and what the vault answers: `secrets` by path, then `answers` in turn."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.asked: list[str] = []
        self.scopes: list[str] = []

    def answer(self, path: str, authorization: str | None) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(path)
        self.asked.append(path)
        if self.answers:
            return self.answers.pop(0)
        if authorization != f"Bearer {TOKEN}":
            return 401, {}, b'{"error": {"code": "Unauthorized"}}'
        if parse_qs(parts.query).get("api-version") != ["7.4"]:
            return 400, {}, b'{"error": {"code": "BadParameter"}}'
        value = self.secrets.get(parts.path.removeprefix("/secrets/"))
        if value is None:
            return 404, {}, b'{"error": {"code": "SecretNotFound"}}'
        return 200, {}, json.dumps({"value": value, "id": "https://x/secrets/n/v", "attributes": {}}).encode()

    def token(self, path: str, header: str | None) -> tuple[int, dict[str, str], bytes]:
        if header != HEADER:
            return 401, {}, b"{}"
        self.scopes += parse_qs(urlsplit(path).query)["resource"]
        return 200, {}, json.dumps({"access_token": TOKEN, "expires_on": "4102444800"}).encode()


@contextmanager
def running(vault: Vault) -> Iterator[dict[str, str]]:
    """The environment in which the vault and the identity are the stand-ins'."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_identity = self.path.startswith("/identity")
            answer: Any = (
                vault.token(self.path, self.headers["X-IDENTITY-HEADER"])
                if is_identity
                else vault.answer(self.path, self.headers["Authorization"])
            )
            status, headers, body = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield {
            "HPCAI_KEY_VAULT_ENDPOINT": url,
            "IDENTITY_ENDPOINT": f"{url}/identity",
            "IDENTITY_HEADER": HEADER,
        }
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
