"""An image of a private Azure registry, whose password the node's identity gets when the job has begun.

Stand-ins: the metadata service and the registry's token exchange, written from their public descriptions
(learn.microsoft.com: how to use managed identities on a VM; azure.github.io/acr/AAD-OAuth), and the registry.
"""

from __future__ import annotations

import json
import shutil
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from hpcai import shell
from tests.container_cluster import Containers
from tests.render.on_slurm import PlainSlurm, Slurm, logs

pytestmark = pytest.mark.real

HOST = "contoso.azurecr.io"
IMAGE = f"{HOST}/ml/demo:1.0"
OF_IDENTITY = "eyJhbGciOi.planted-identity.token-1"
OF_REGISTRY = "eyJhbGciOi.planted-registry.token-2"


def all_argv() -> bytes:
    """The words of all commands that run on this machine."""
    found = b""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += file.read_bytes()
    return found


@dataclass
class Azure:
    """What was asked of the two services, and the identities that they know."""

    asked: list[dict[str, list[str]]] = field(default_factory=list)
    identities: tuple[str | None, ...] = (None,)
    may_pull: bool = True
    in_argv: bool = False

    def answer(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str]]:
        url = urlsplit(request.path)
        if url.path == "/metadata/identity/oauth2/token":
            words = parse_qs(url.query)
            known = words.get("client_id", [None])[0] in self.identities
            right = request.headers["Metadata"] == "true" and words["api-version"] == ["2018-02-01"]
            done = (
                (200, {"access_token": OF_IDENTITY})
                if known and right
                else (400, {"error": "invalid_request"})
            )
        else:
            length = int(request.headers["Content-Length"])
            words = parse_qs(request.rfile.read(length).decode())
            right = url.path == "/oauth2/exchange" and words["access_token"] == [OF_IDENTITY]
            done = (
                (200, {"refresh_token": OF_REGISTRY}) if right and self.may_pull else (401, {"error": "no"})
            )
        self.asked.append(words)
        argv = all_argv()
        self.in_argv |= OF_IDENTITY.encode() in argv or OF_REGISTRY.encode() in argv
        return done


def served(azure: Azure, certificate: Path | None = None) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, words = azure.answer(self)
            body = json.dumps(words, indent=1).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 -- the name that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def self_signed(file: Path) -> Path:
    subject = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    shell.run([*new, *subject, "-keyout", file, "-out", f"{file}.crt"], timeout_s=60)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@pytest.fixture
def azure(containers: Containers, tmp_path: Path) -> Iterator[Azure]:
    registry = containers.home / "registry" / HOST
    (registry / "ml").mkdir(parents=True, exist_ok=True)
    (registry / ".password").write_text(OF_REGISTRY)
    shutil.copy(containers.squashfs, registry / "ml/demo:1.0.sqsh")
    azure = Azure()
    metadata, exchange = served(azure), served(azure, self_signed(tmp_path / "key.pem"))
    for name, server in (("metadata", metadata), ("exchange", exchange)):
        (tmp_path / name).write_text(str(server.server_port))
    yield azure
    for server in (metadata, exchange):
        server.shutdown()
        server.server_close()


@pytest.fixture
def slurm(containers: Containers, tmp_path: Path, azure: Azure) -> Slurm:
    home = tmp_path / "home"
    home.mkdir()
    port = (tmp_path / "exchange").read_text()
    connect = f'connect-to = "{HOST}:443:127.0.0.1:{port}"'
    (home / ".curlrc").write_text(f'{connect}\ncacert = "{tmp_path}/key.pem.crt"\nnoproxy = "*"\n')
    metadata = f"http://127.0.0.1:{(tmp_path / 'metadata').read_text()}"
    places = {"HOME": str(home), "TMPDIR": str(tmp_path), "HPCAI_IMAGE_CACHE": str(tmp_path / "images")}
    return PlainSlurm(
        {**containers.environ, **places, "AZURE_POD_IDENTITY_AUTHORITY_HOST": metadata}, tmp_path
    )


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_job_signs_in_when_it_has_begun_and_leaves_no_token(slurm: Slurm, azure: Azure, nodes: int) -> None:
    container = {"image": IMAGE, "login": "managed_identity"}
    job, run = slurm.run(command="echo $FROM_IMAGE", nodes=nodes, container=container)
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()
    assert logs(run) == {f"{rank}.out": "image\n" for rank in range(nodes)}
    assert [words.get("resource") for words in azure.asked] == [["https://containerregistry.azure.net"], None]
    assert azure.asked[1]["service"] == [HOST]
    assert not azure.in_argv
    left = [file for file in slurm.folder.rglob("*") if file.is_file()]
    assert not [file for file in left if b"planted" in file.read_bytes()]
    assert not list(slurm.folder.glob("tmp.*")), "the folder of the password"


def test_one_of_several_identities_is_named(slurm: Slurm, azure: Azure) -> None:
    client_id = "11111111-2222-3333-4444-555555555555"
    azure.identities = (client_id,)
    container = {"image": IMAGE, "login": f"managed_identity/{client_id}"}
    job, run = slurm.run(command="true", container=container)
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()


@pytest.mark.parametrize(
    ("identities", "told"),
    [
        ((), f"{HOST}: n1 got no token: assign an identity to the node's VM, or name one of several: login"),
        ((None,), f"{HOST} does not take the identity of n1: give it the role AcrPull there"),
    ],
)
def test_who_may_not_is_told_so(
    slurm: Slurm, azure: Azure, identities: tuple[str | None, ...], told: str
) -> None:
    azure.identities, azure.may_pull = identities, False
    job, run = slurm.run(command="true", container={"image": IMAGE, "login": "managed_identity"})
    words = (run / "logs/batch.out").read_text()
    assert job["JobState"] == "FAILED" and told in words and "planted" not in words
    assert not list((slurm.folder / "images").glob("*.draft"))


def test_without_login_the_registry_asks(slurm: Slurm, azure: Azure) -> None:
    job, run = slurm.run(command="true", nodes=2, container={"image": IMAGE})
    words = (run / "logs/batch.out").read_text()
    assert job["JobState"] == "FAILED" and "returned error code: 401 Unauthorized" in words
    assert azure.asked == []
