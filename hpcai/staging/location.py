"""Where a data set lies, read from a URL: azure://container/prefix, an https Blob URL or file:///folder."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from hpcai.errors import UsageError

_ALLOWED = "A source is azure://CONTAINER/PREFIX, https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX or file:///FOLDER."
# The Blob hosts of Azure's clouds, and those of accounts in a DNS zone: no other host may see a credential
# because a URL names it.
_AZURE = (
    r"([a-z0-9-]+)\.(?:blob\.core\.(?:windows\.net|chinacloudapi\.cn|usgovcloudapi\.net)|"
    r"z[0-9]{2}\.blob\.storage\.azure\.net)"
)
_CONTAINER = r"[a-z0-9](?:-?[a-z0-9]){2,62}"


@dataclass(frozen=True)
class FolderLocation:
    """A folder that this machine can read."""

    path: Path

    @property
    def url(self) -> str:
        return self.path.as_uri()


@dataclass(frozen=True)
class BlobLocation:
    """A prefix in a container. `endpoint` is the account's URL without the container."""

    account: str
    endpoint: str
    container: str
    prefix: str

    @property
    def url(self) -> str:
        return f"azure://{self.container}/{self.prefix}".rstrip("/")

    @property
    def is_plain_http(self) -> bool:
        return self.endpoint.startswith("http:")

    @property
    def is_on_this_machine(self) -> bool:
        return is_loopback(urlsplit(self.endpoint).hostname or "")

    def below(self, name: str) -> BlobLocation:
        return replace(self, prefix=f"{self.prefix}/{name}" if self.prefix else name)

    def blob(self, path: str) -> str:
        """The blob's name in its container."""
        return f"{self.prefix}/{path}" if self.prefix else path


Location = FolderLocation | BlobLocation


def parse_location(url: str, environ: Mapping[str, str]) -> Location:
    """The place that a URL names; the account of azure:// comes from the environment.

    Raises UsageError.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL: {error}.", allowed=_ALLOWED) from error
    _refuse_extras(url, parts)
    if parts.scheme == "file":
        return _folder(url, parts)
    if parts.scheme == "azure":
        if port is not None:
            raise UsageError(f"{url!r} has a port.", allowed=_ALLOWED)
        return _blob(url, *_account(environ), f"{parts.netloc}{parts.path}", environ)
    if parts.scheme in ("http", "https"):
        return _blob(url, *_account_of_url(url, parts, environ), environ)
    raise UsageError(f"{url!r} is not a place that hpcai can read.", allowed=_ALLOWED)


def _refuse_extras(url: str, parts: SplitResult) -> None:
    if parts.query or parts.fragment or parts.username or parts.password:
        # The URL is not repeated: what is too much in it may be a signature.
        raise UsageError(
            f"The URL of {parts.hostname or parts.scheme!r} carries a query, a fragment or a password.",
            allowed=_ALLOWED,
            next_step='Put a SAS as {"sas": "..."} into a 0600 file that HPCAI_STORAGE_CREDENTIALS names.',
        )
    if not url.isprintable():
        raise UsageError(f"{url!r} holds characters that cannot be printed.", allowed=_ALLOWED)


def _folder(url: str, parts: SplitResult) -> FolderLocation:
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/"):
        raise UsageError(f"{url!r} names no absolute folder.", allowed=_ALLOWED)
    return FolderLocation(Path(path))


def _account(environ: Mapping[str, str]) -> tuple[str, str]:
    endpoint = environ.get("HPCAI_STORAGE_ENDPOINT", "").rstrip("/")
    account = environ.get("AZURE_STORAGE_ACCOUNT", "")
    if not account:
        raise UsageError(
            "azure:// needs a storage account, and AZURE_STORAGE_ACCOUNT is not set.",
            next_step="export AZURE_STORAGE_ACCOUNT=NAME",
        )
    if not re.fullmatch(r"[a-z0-9]{3,24}", account):
        raise UsageError(
            f"AZURE_STORAGE_ACCOUNT is {account!r}, which is no account name.",
            allowed="It is 3 to 24 lower-case letters and digits.",
        )
    return account, endpoint or f"https://{account}.blob.core.windows.net"


def _account_of_url(url: str, parts: SplitResult, environ: Mapping[str, str]) -> tuple[str, str, str]:
    configured = environ.get("HPCAI_STORAGE_ENDPOINT", "").rstrip("/")
    if configured and url.startswith(f"{configured}/"):
        return *_account(environ), unquote(url[len(configured) + 1 :])
    host = parts.hostname or ""
    path = unquote(parts.path).lstrip("/")
    if match := re.fullmatch(_AZURE, host):
        return match[1], f"{parts.scheme}://{parts.netloc}", path
    if is_loopback(host):
        account, _, path = path.partition("/")
        return account, f"{parts.scheme}://{parts.netloc}/{quote(account)}", path
    raise UsageError(
        f"{url!r} is not the URL of an Azure storage account.",
        allowed=_ALLOWED,
        next_step="For a host of another name set HPCAI_STORAGE_ENDPOINT and AZURE_STORAGE_ACCOUNT.",
    )


def _blob(url: str, account: str, endpoint: str, path: str, environ: Mapping[str, str]) -> BlobLocation:
    container, _, prefix = path.partition("/")
    if not re.fullmatch(_CONTAINER, container):
        raise UsageError(
            f"{url!r} names the container {container!r}, which cannot exist.",
            allowed="A container's name is 3 to 63 lower-case letters, digits and single hyphens.",
        )
    if any(part in ("", ".", "..") for part in prefix.rstrip("/").split("/")) and prefix.strip("/"):
        raise UsageError(f"{url!r} has an empty part, '.' or '..' in its path.", allowed=_ALLOWED)
    _require_safe_transport(endpoint, environ)
    return BlobLocation(account, endpoint, container, prefix.rstrip("/"))


def _require_safe_transport(endpoint: str, environ: Mapping[str, str]) -> None:
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(
            f"The storage endpoint is {endpoint!r}, which is no http or https URL.",
            next_step="Correct HPCAI_STORAGE_ENDPOINT, such as https://ACCOUNT.blob.core.windows.net.",
        )
    allowed = [word.strip() for word in environ.get("HPCAI_ALLOW_HTTP", "").split(",")]
    if parts.scheme == "http" and not is_loopback(host) and host not in allowed:
        raise UsageError(
            f"{endpoint!r} would send data and credentials over http, readable by the network.",
            allowed="Plain http is for this machine itself and for hosts in HPCAI_ALLOW_HTTP.",
            next_step=f"Use https, or export HPCAI_ALLOW_HTTP={host}",
        )


def is_loopback(host: str) -> bool:
    """True when `host` is this machine under any of its loopback names."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
