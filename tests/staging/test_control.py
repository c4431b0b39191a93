"""An identity instead of a key, over TLS: what a real account asks for.

The emulator's certificate and the token's issuer are stand-ins, because no real account and no Entra ID can
be had here: the emulator checks the token's audience, issuer and times, not its signature.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hpcai.errors import ToolError
from hpcai.slurm.local import azurite
from hpcai.specs.site import cache_dir
from hpcai.staging import control
from hpcai.staging.pull import pull
from hpcai.staging.push import push
from tests.staging.sets import files_of, write_set
from tests.waiting import until

pytestmark = pytest.mark.real


def certificate(folder: Path) -> None:
    """ca.pem, and cert.pem with key.pem for 127.0.0.1 signed by it."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def signed(
        name: str, of: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, is_ca: bool
    ) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name.from_rfc4514_string(f"CN={name}"))
            .issuer_name(x509.Name.from_rfc4514_string("CN=test authority"))
            .public_key(of.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
            )
        )
        return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    (folder / "ca.pem").write_bytes(signed("test authority", authority, authority, True))
    (folder / "cert.pem").write_bytes(signed("127.0.0.1", own, authority, False))
    (folder / "key.pem").write_bytes(
        own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """An emulator that speaks TLS and takes tokens; the environment that names it, without credentials."""
    certificate(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = azurite.argv(azurite.ensure(cache_dir()), port, tmp_path / "data")
    words += ["--cert", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem"), "--oauth", "basic"]
    server = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, env={**os.environ})
    try:
        until_it_answers(port)
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            monkeypatch.setenv(name, str(tmp_path / "ca.pem"))
        endpoint = f"https://127.0.0.1:{port}/devstoreaccount1"
        yield {"AZURE_STORAGE_ACCOUNT": "devstoreaccount1", "HPCAI_STORAGE_ENDPOINT": endpoint}
    finally:
        server.kill()
        server.wait()


def until_it_answers(port: int) -> None:

    def it_answers() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    until(it_answers, 30, "the server answers")


class Somebody:
    """A stand-in for a managed identity; its tokens begin to be valid `age_s` ago, for one hour."""

    def __init__(self, age_s: int) -> None:
        self.issued = int(time.time()) - age_s

    def get_token(self, scope: str) -> AccessToken:
        audience = scope.removesuffix("/.default")
        claims = {
            "aud": audience,
            "iss": "https://sts.windows.net/00000000-0000-4000-8000-000000000000/",
            "iat": self.issued,
            "nbf": self.issued,
            "exp": self.issued + 3600,
        }
        parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
        words = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts]
        return AccessToken(".".join([*words, "c2ln"]), int(time.time()) + 3600)


class Nobody:
    def get_token(self, scope: str) -> AccessToken:
        raise ClientAuthenticationError(message=f"nobody for {scope}")


def test_a_set_goes_and_comes_by_identity(
    secure: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path / "set", {"a.tar": 5000})
    monkeypatch.setattr(control, "_default_credential", lambda: Somebody(age_s=10))
    push(tmp_path / "set", "azure://data/set", secure)
    done = pull("azure://data/set", secure, to=tmp_path / "out")
    assert files_of(done.path)["a.tar"] == files_of(tmp_path / "set")["a.tar"]

    monkeypatch.setattr(control, "_default_credential", lambda: Somebody(age_s=7200))
    with pytest.raises(ToolError, match="was refused"):
        pull("azure://data/set", secure, to=tmp_path / "out2")
    with pytest.raises(ToolError, match="was refused"):
        push(tmp_path / "set", "azure://data/set", secure)

    monkeypatch.setattr(control, "_default_credential", Nobody)
    with pytest.raises(ToolError, match="nobody is signed in"):
        pull("azure://data/set", secure, to=tmp_path / "out2")
    with pytest.raises(ToolError, match="nobody is signed in"):
        push(tmp_path / "set", "azure://data/set", secure)
