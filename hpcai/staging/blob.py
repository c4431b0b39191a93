"""Azure Blob as a source: ranged reads by obstore, whose own retries are off.

obstore tells most failures by text alone. What this module takes from that text, the HTTP status and the
service's code, is pinned by a test against the real emulator.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore

from hpcai.errors import HpcaiError, ToolError
from hpcai.staging.answers import BUSY, CONTAINER_MISSING, no_container, translate, unanswered
from hpcai.staging.chunks import Buffer
from hpcai.staging.credentials import AccountKey, Credentials, Sas
from hpcai.staging.location import BlobLocation
from hpcai.staging.retry import BusyError
from hpcai.staging.source import ChangedError, Entries

T = TypeVar("T")

_CLIENT_OPTIONS = {"connect_timeout": "5s", "read_timeout": "20s", "timeout": "120s", "allow_http": True}
_NO_RETRIES = {"max_retries": 0, "retry_timeout": timedelta(0)}


class BlobSource:
    """A prefix in a container."""

    def __init__(self, location: BlobLocation, credentials: Credentials) -> None:
        self._location = location
        self._credentials = credentials
        self._store: Any = AzureStore(
            location.container,
            prefix=location.prefix or None,
            account_name=location.account,
            endpoint=location.endpoint,
            client_options=_client_options(location),
            retry_config=_NO_RETRIES,
            # As a provider, because keys in the environment would otherwise win over the chosen ones.
            credential_provider=_provider(location, credentials),
        )

    @property
    def url(self) -> str:
        return self._location.url

    def read(self, path: str) -> bytes:
        return self._attempt(path, lambda: bytes(obstore.get(self._store, path).bytes()))

    def read_range(self, path: str, start: int, length: int, etag: str | None) -> Buffer:
        options: dict[str, Any] = {"range": (start, start + length)}
        if etag is not None:
            options["if_match"] = etag
        data = self._attempt(path, lambda: obstore.get(self._store, path, options=options).bytes())
        if len(data) != length:
            raise ChangedError(f"{self._name(path)} is shorter than its manifest says.")
        return memoryview(data)

    def entries(self) -> Entries:
        listing = self._attempt("", lambda: obstore.list_with_delimiter(self._store))
        folders = (str(prefix).rstrip("/").rpartition("/")[2] for prefix in listing["common_prefixes"])
        files = {str(item["path"]).rpartition("/")[2]: int(item["size"]) for item in listing["objects"]}
        return Entries(tuple(sorted(folders)), files)

    def below(self, name: str) -> BlobSource:
        return BlobSource(self._location.below(name), self._credentials)

    def above(self) -> BlobSource | None:
        if not self._location.prefix:
            return None
        prefix = self._location.prefix.rpartition("/")[0]
        return BlobSource(replace(self._location, prefix=prefix), self._credentials)

    def _attempt(self, path: str, function: Callable[[], T]) -> T:
        try:
            return function()
        except (BaseError, OSError) as error:
            raise self._translated(path, str(error)) from error

    def _is_gone(self, path: str) -> bool:
        try:
            obstore.head(self._store, path)
        except FileNotFoundError:
            return True
        except (BaseError, OSError):
            return False
        return False

    def _name(self, path: str) -> str:
        return f"The blob {path!r} at {self.url}" if path else self.url

    def _translated(self, path: str, text: str) -> HpcaiError:
        status, code = status_and_code(text)
        if status in BUSY:
            from hpcai.staging.control import retry_after_s

            asked_s = retry_after_s(self._location, self._credentials, path) if status in (429, 503) else None
            return BusyError(
                f"{self._name(path)} cannot be served now (HTTP {status}).", retry_after_s=asked_s
            )
        if code == CONTAINER_MISSING:
            from hpcai.staging.control import container_names

            return no_container(self._location, container_names(self._location, self._credentials))
        if status == 412 and self._is_gone(path):
            # The emulator finds the condition unmet before it finds the blob missing.
            status = 404
        if status is not None:
            return translate(self._location, self._name(path), status, code)
        if "External Azure credential provider" in text:
            return ToolError(
                f"No token for {self.url} could be had.",
                next_step="Sign in again, or name a key file in HPCAI_STORAGE_CREDENTIALS.",
            )
        return unanswered(self._location, why_unanswered(text))


def status_and_code(text: str) -> tuple[int | None, str | None]:
    """The HTTP status and the service's error code in obstore's text."""
    status = re.search(r"status code: (\d{3})", text)
    code = re.search(r"<Code>(\w+)</Code>", text)
    return int(status[1]) if status else None, code[1] if code else None


def _client_options(location: BlobLocation) -> dict[str, Any]:
    if not location.is_on_this_machine:
        return _CLIENT_OPTIONS
    # No proxy of the environment leads to this machine itself, and obstore cannot be told "none":
    # one that is excluded for every host that is asked comes to the same.
    host = urlsplit(location.endpoint).hostname
    return {**_CLIENT_OPTIONS, "proxy_url": location.endpoint, "proxy_excludes": host}


def why_unanswered(text: str) -> str:
    """The root of obstore's chain of causes, in words for a person."""
    if "kind: Timeout" in text:
        return "no answer in time"
    if "InvalidContentType" in text:
        return "it does not speak TLS (https)"
    roots = re.findall(r'(?:message|error): "([^"]+)"', text) or re.findall(r" - ([^\n]{1,120})", text)
    certificate = re.search(r"InvalidCertificate\(\s*(\w+)", text)
    if certificate is not None:
        return f"its certificate is not accepted ({certificate[1]})"
    return roots[-1] if roots else "no response"


def _provider(location: BlobLocation, credentials: Credentials) -> Callable[[], dict[str, Any]]:
    if isinstance(credentials, AccountKey):
        return lambda: {"access_key": credentials.key.reveal(), "expires_at": None}
    if isinstance(credentials, Sas):
        return lambda: {"sas_token": credentials.token.reveal(), "expires_at": None}
    from hpcai.staging.control import identity_token

    def token() -> dict[str, Any]:
        text, expires_at = identity_token(location)
        return {"token": text, "expires_at": datetime.fromtimestamp(expires_at, timezone.utc)}

    # Asked once now: obstore would hide why a token cannot be had.
    token()
    return token
