"""Azure Blob's control plane by azure-storage-blob: tokens, containers, properties and uploads.

Importing the SDK costs more than a small download, so only what needs it imports this module. Its own
retries are off: `hpcai.staging.retry` decides.
"""

from __future__ import annotations

import functools
import itertools
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from azure.core.credentials import AzureSasCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
)
from azure.storage.blob import BlobBlock, ContainerClient, ContentSettings

from hpcai.errors import HpcaiError, ToolError
from hpcai.staging.answers import BUSY, translate, unanswered
from hpcai.staging.credentials import AccountKey, Credentials, Sas
from hpcai.staging.location import BlobLocation
from hpcai.staging.retry import BusyError
from hpcai.staging.source import NoSuchBlob

T = TypeVar("T")

_SCOPE = "https://storage.azure.com/.default"
_DIGEST = "hpcai_digest"

# What the SDK has to say comes back as an error; without a handler it would also be printed.
logging.getLogger("azure").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class BlobState:
    """What a blob is. `digest` is that of the shard whose upload made it, None for anyone else's blob."""

    bytes: int
    etag: str
    digest: str | None


class Container:
    """A container's prefix, writable. Every call is one attempt; what may pass is marked transient."""

    def __init__(self, location: BlobLocation, credentials: Credentials) -> None:
        self._location = location
        self._client = _container_client(location, credentials)

    def create(self) -> bool:
        """Make the container; False when it was there."""
        try:
            self._attempt(self._location.url, self._client.create_container)
        except _AlreadyThere:
            return False
        return True

    def read(self, path: str) -> bytes | None:
        """A small blob's bytes, or None. Raises NotFoundError when the container is missing."""
        blob = self._client.get_blob_client(self._location.blob(path))
        try:
            return self._attempt(path, lambda: bytes(blob.download_blob().readall()))
        except NoSuchBlob:
            return None

    def state(self, path: str) -> BlobState | None:
        blob = self._client.get_blob_client(self._location.blob(path))
        try:
            properties = self._attempt(path, blob.get_blob_properties)
        except NoSuchBlob:
            return None
        return BlobState(properties.size, str(properties.etag), (properties.metadata or {}).get(_DIGEST))

    def staged_blocks(self, path: str) -> set[str]:
        """The ids of blocks that an upload sent and never put together."""
        blob = self._client.get_blob_client(self._location.blob(path))
        try:
            _, uncommitted = self._attempt(path, lambda: blob.get_block_list("uncommitted"))
        except NoSuchBlob:
            return set()
        return {str(block.id) for block in uncommitted}

    def stage_block(self, path: str, block_id: str, data: bytes) -> None:
        blob = self._client.get_blob_client(self._location.blob(path))
        self._attempt(path, lambda: blob.stage_block(block_id, data))

    def commit(self, path: str, block_ids: list[str], digest: str) -> str:
        """The ETag of the blob put together from its blocks."""
        blob = self._client.get_blob_client(self._location.blob(path))
        blocks = [BlobBlock(block_id) for block_id in block_ids]
        settings = ContentSettings(content_type="application/x-tar")
        answer = self._attempt(
            path,
            lambda: blob.commit_block_list(blocks, content_settings=settings, metadata={_DIGEST: digest}),
        )
        return str(answer["etag"])

    def put(self, path: str, data: bytes) -> None:
        blob = self._client.get_blob_client(self._location.blob(path))
        settings = ContentSettings(content_type="application/json")
        self._attempt(path, lambda: blob.upload_blob(data, overwrite=True, content_settings=settings))

    def delete(self, path: str) -> None:
        blob = self._client.get_blob_client(self._location.blob(path))
        try:
            self._attempt(path, blob.delete_blob)
        except NoSuchBlob:
            return

    def _attempt(self, path: str, function: Callable[[], T]) -> T:
        try:
            return function()
        except ResourceExistsError as error:
            raise _AlreadyThere from error
        except ClientAuthenticationError as error:
            # A token that cannot be had has no answer of the service; a refusal has one.
            refused = error.status_code is not None
            raise self._translated(path, error) if refused else _nobody(self._location) from error
        except AzureError as error:
            raise self._translated(path, error) from error

    def _translated(self, path: str, error: AzureError) -> HpcaiError:
        return _translated(self._location, f"The blob {path!r} at {self._location.url}", error)


class _AlreadyThere(Exception):
    """The container exists."""


def container_names(location: BlobLocation, credentials: Credentials) -> list[str]:
    """The containers of the account, as far as the credentials allow to list them; else none."""
    try:
        return list_containers(location, credentials)
    except (AzureError, HpcaiError):
        return []


def list_containers(
    location: BlobLocation, credentials: Credentials, *, most: int | None = None, timeout_s: float = 20.0
) -> list[str]:
    """The containers of the account, or the first of them: one small request that proves the credentials.

    `timeout_s` holds for the connection and again for the answer. Raises RefusedError, which carries the
    service's own code, UnreachableError and ToolError.
    """
    from azure.storage.blob import BlobServiceClient

    try:
        with BlobServiceClient(
            location.endpoint,
            credential=_sdk_credential(location, credentials),
            retry_total=0,
            connection_timeout=timeout_s,
            read_timeout=timeout_s,
            **_transport(location),
        ) as service:
            found = service.list_containers(results_per_page=most)
            return [str(item.name) for item in itertools.islice(found, most)]
    except ClientAuthenticationError as error:
        if error.status_code is None:
            raise _nobody(location) from error
        raise _translated(location, "The list of containers", error) from error
    except AzureError as error:
        raise _translated(location, "The list of containers", error) from error


def retry_after_s(location: BlobLocation, credentials: Credentials, path: str) -> float | None:
    """The pause that a busy service asks for in the answer to one small request, or None."""
    try:
        _container_client(location, credentials).get_blob_client(location.blob(path)).get_blob_properties()
    except HttpResponseError as error:
        return _asked_s(error)
    except AzureError:
        return None
    return None


def identity_token(location: BlobLocation) -> tuple[str, int]:
    """A bearer token for storage and the second it expires at.

    Raises ToolError when nobody is signed in, or when http would carry the token.
    """
    try:
        token = _identity(location).get_token(_SCOPE)
    except ClientAuthenticationError as error:
        raise _nobody(location) from error
    return token.token, token.expires_on


@functools.cache
def _default_credential() -> Any:
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()


def _identity(location: BlobLocation) -> Any:
    if location.is_plain_http:
        raise ToolError(
            f"There are no credentials for {location.url}, and over http an identity proves nothing.",
            next_step="Name a key file in HPCAI_STORAGE_CREDENTIALS; `hpcai local up --blob` makes one.",
        )
    return _default_credential()


def _nobody(location: BlobLocation) -> ToolError:
    return ToolError(
        f"There are no credentials for {location.url}: no key or SAS is set, and nobody is signed in.",
        allowed="HPCAI_STORAGE_CREDENTIALS (a file of mode 0600), a managed identity, or `az login`.",
    )


def _sdk_credential(location: BlobLocation, credentials: Credentials) -> Any:
    if isinstance(credentials, AccountKey):
        return {"account_name": location.account, "account_key": credentials.key.reveal()}
    if isinstance(credentials, Sas):
        return AzureSasCredential(credentials.token.reveal())
    return _identity(location)


def _container_client(location: BlobLocation, credentials: Credentials) -> ContainerClient:
    return ContainerClient(
        location.endpoint,
        location.container,
        credential=_sdk_credential(location, credentials),
        retry_total=0,
        connection_timeout=5,
        read_timeout=60,
        **_transport(location),
    )


def _transport(location: BlobLocation) -> dict[str, Any]:
    # No proxy of the environment leads to this machine itself; None is how requests is told so.
    return {"proxies": {"http": None, "https": None}} if location.is_on_this_machine else {}


def _translated(location: BlobLocation, what: str, error: AzureError) -> HpcaiError:
    if not isinstance(error, HttpResponseError) or error.status_code is None:
        return unanswered(location, _root(error))
    if error.status_code in BUSY:
        return BusyError(
            f"{what} cannot be served now (HTTP {error.status_code}).", retry_after_s=_asked_s(error)
        )
    code = getattr(error, "error_code", None)
    # An enumeration's member when the SDK knows the code, else a text.
    code_text = str(getattr(code, "value", code)) if code else None
    return translate(location, what, error.status_code, code_text)


def _root(error: AzureError) -> str:
    """The system's own words in the SDK's message, which is otherwise made of the names of its objects."""
    system = re.search(r"\[Errno -?\d+\] ([^'\")]+)", str(error))
    return system[1] if system else str(error) or type(error).__name__


def _asked_s(error: HttpResponseError) -> float | None:
    headers = getattr(error.response, "headers", {})
    text = headers.get("Retry-After", "")
    # The other form of the header is a date, which a wrong clock would turn into hours.
    return float(text) if text.isdigit() else None
