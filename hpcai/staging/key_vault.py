"""A secret of an Azure Key Vault, read over its REST API as whoever this machine or person is.

    python -m hpcai.staging.key_vault keyvault://VAULT/NAME[/VERSION]

prints the value to stdout, for the job script that keeps it in a variable.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from hpcai.errors import HpcaiError, NotFoundError, ToolError, UnreachableError, UsageError
from hpcai.specs.secrets import VAULT_HOSTS, parse_reference
from hpcai.staging.credentials import Secret
from hpcai.staging.location import is_loopback
from hpcai.staging.retry import FIRST_CONTACT, BusyError, Retrier

API_VERSION = "7.4"
# A stand-in on this machine itself; a token goes nowhere else but to Azure's own hosts.
ENDPOINT_VARIABLE = "HPCAI_KEY_VAULT_ENDPOINT"
_TIMEOUT_S = 30.0
# What the SDK has to say comes back as an error; without a handler it would also be printed.
logging.getLogger("azure").addHandler(logging.NullHandler())
_BUSY = (408, 429, 500, 502, 503, 504)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token to another host."""

    def redirect_request(self, *_: object) -> None:
        return None


def read(place: str, environ: Mapping[str, str]) -> Secret:
    """The secret at VAULT/NAME[/VERSION], after bounded retries that are said on stderr.

    Raises NotFoundError, ToolError when it is refused, UnreachableError, UsageError.
    """
    vault, _, path = place.partition("/")
    host = vault if "." in vault else f"{vault}.{VAULT_HOSTS[0]}"
    endpoint = _endpoint(host, environ)
    token = _token(f"https://{host.partition('.')[2]}/.default", vault)
    url = f"{endpoint}/secrets/{path}?api-version={API_VERSION}"
    retrier = Retrier(FIRST_CONTACT, say=_say)
    what = f"The secret {path!r} of the key vault {vault!r}"
    return retrier.call(what, lambda: _get(url, token, what))


def _say(words: str) -> None:
    sys.stderr.write(f"hpcai: {words}\n")


def _endpoint(host: str, environ: Mapping[str, str]) -> str:
    stand_in = environ.get(ENDPOINT_VARIABLE, "").rstrip("/")
    if not stand_in:
        return f"https://{host}"
    if not is_loopback(urlsplit(stand_in).hostname or ""):
        raise UsageError(
            f"{ENDPOINT_VARIABLE} is {stand_in!r}, which is not of this machine.",
            allowed="It is for a stand-in on loopback alone: a token is sent there.",
        )
    return stand_in


def _token(scope: str, vault: str) -> Secret:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import CredentialUnavailableError, DefaultAzureCredential

    try:
        return Secret(DefaultAzureCredential().get_token(scope).token)
    except (ClientAuthenticationError, CredentialUnavailableError):
        # Not chained: what the identities said may be long, and may name more than is anybody's business.
        raise ToolError(
            f"Nobody is signed in here who could open the key vault {vault!r}.",
            allowed="The machine needs a managed identity with the role Key Vault Secrets User.",
        ) from None


def _get(url: str, token: Secret, what: str) -> Secret:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token.reveal()}"})
    handlers: list[Any] = [_NoRedirect]
    if is_loopback(urlsplit(url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT_S) as answer:
            return _value(answer.read(), what)
    except urllib.error.HTTPError as error:
        raise _refusal(error, what) from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise UnreachableError(
            f"{what} was not answered: {reason}.",
            next_step="Check the vault's name and the node's way to it (private endpoint, firewall).",
        ) from None


def _value(body: bytes, what: str) -> Secret:
    try:
        value = json.loads(body)["value"]
    except (ValueError, KeyError, TypeError):
        value = None
    if not isinstance(value, str) or not value or "\0" in value:
        raise ToolError(f"{what} was answered without a value that a variable can hold.")
    return Secret(value)


def _refusal(error: urllib.error.HTTPError, what: str) -> HpcaiError:
    if error.code in _BUSY:
        asked = str(error.headers.get("Retry-After", ""))
        return BusyError(
            f"{what} cannot be read now (HTTP {error.code}).",
            retry_after_s=float(asked) if asked.isdigit() else None,
        )
    if error.code == 404:
        return NotFoundError(f"{what} does not exist.")
    if error.code in (401, 403):
        return ToolError(
            f"{what} was refused (HTTP {error.code}).",
            allowed="The identity of the node needs the role Key Vault Secrets User, and a way through the "
            "vault's firewall; a secret that is disabled or expired is refused too.",
        )
    return ToolError(f"{what} was answered with HTTP {error.code}.")


def main(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit status, after the value has gone to stdout as it is."""
    try:
        reference = parse_reference(words[0] if len(words) == 1 else "")
        if reference.scheme != "keyvault":
            raise ValueError
    except ValueError:
        sys.stderr.write("hpcai: one keyvault://VAULT/NAME[/VERSION] is read here\n")
        return UsageError.exit_status
    try:
        value = read(reference.place, environ)
    except HpcaiError as error:
        sys.stderr.write(f"hpcai: {error}\n")
        return error.exit_status
    sys.stdout.write(value.reveal())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
