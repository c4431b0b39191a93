"""Key Vault through its REST API, with the token of a managed identity; both are stand-ins on loopback."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests import warm
from tests.staging.key_vault_stand_in import TOKEN, Vault, running

pytestmark = pytest.mark.programs

VERSION = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def environ(vault: Vault) -> Iterator[dict[str, str]]:
    with running(vault) as variables:
        yield {**os.environ, **variables}


def read(environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return warm.python("hpcai.staging.key_vault", *words, env=environ)


def test_the_value_alone_is_printed(vault: Vault, environ: dict[str, str]) -> None:
    vault.secrets = {"token": "värde $x\nsecond", f"token/{VERSION}": "older"}
    done = read(environ, "keyvault://my-vault/token")
    assert (done.returncode, done.stdout, done.stderr) == (0, "värde $x\nsecond", "")
    assert read(environ, f"keyvault://my-vault.vault.azure.cn/token/{VERSION}").stdout == "older"
    assert vault.scopes == ["https://vault.azure.net", "https://vault.azure.cn"]


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        ((403, {}, b"{}"), 4, "was refused (HTTP 403).\nThe identity of the node needs the role"),
        ((404, {}, b"{}"), 5, "The secret 'token' of the key vault 'my-vault' does not exist."),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), 4, "was answered with HTTP 302."),
        ((200, {}, b'{"value": ""}'), 4, "without a value that a variable can hold"),
        ((200, {}, b"hunter2"), 4, "without a value that a variable can hold"),
    ],
    ids=["refused", "missing", "redirected", "empty", "garbage"],
)
def test_what_is_refused_is_told_without_any_of_it(
    vault: Vault, environ: dict[str, str], answer: tuple[int, dict[str, str], bytes], status: int, words: str
) -> None:
    vault.answers = [answer]
    done = read(environ, "keyvault://my-vault/token")
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr
    assert TOKEN not in done.stderr and "hunter2" not in done.stderr and "Traceback" not in done.stderr
    assert len(vault.asked) == 1


def test_a_busy_vault_is_asked_again(vault: Vault, environ: dict[str, str]) -> None:
    vault.secrets = {"token": "late"}
    vault.answers = [(429, {"Retry-After": "0"}, b"")]
    done = read(environ, "keyvault://my-vault/token")
    assert (done.returncode, done.stdout) == (0, "late")
    assert "cannot be read now (HTTP 429). Try 2 of 4" in done.stderr


def test_without_an_identity_nothing_is_asked(vault: Vault, environ: dict[str, str]) -> None:
    done = read({**environ, "IDENTITY_HEADER": "wrong"}, "keyvault://my-vault/token")
    assert done.returncode == 4
    assert done.stderr.startswith(
        "hpcai: Nobody is signed in here who could open the key vault 'my-vault'.\n"
    )
    assert vault.asked == []


def test_a_token_goes_to_no_host_of_the_environments_choice(environ: dict[str, str]) -> None:
    done = read({**environ, "HPCAI_KEY_VAULT_ENDPOINT": "https://example.org"}, "keyvault://my-vault/token")
    assert done.returncode == 2
    assert "HPCAI_KEY_VAULT_ENDPOINT is 'https://example.org', which is not of this machine." in done.stderr


@pytest.mark.parametrize("words", [(), ("env:HOME",), ("keyvault://x/y/../z",), ("a", "b")])
def test_anything_else_is_wrong_usage(environ: dict[str, str], words: tuple[str, ...]) -> None:
    assert read(environ, *words).returncode == 2
