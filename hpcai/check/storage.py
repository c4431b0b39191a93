"""Whether the storage account answers, and whether the credentials open it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

from hpcai.check.findings import Finding
from hpcai.errors import HpcaiError, UnreachableError
from hpcai.specs.site import Site
from hpcai.staging.credentials import Credentials, Sas, find_credentials
from hpcai.staging.location import BlobLocation, parse_location

ANSWER_TIMEOUT_S = 5.0

_WHERE = "storage"
_KINDS = {"AccountKey": "the account key", "Sas": "the SAS", "Identity": "your Azure identity"}
# With these words the service refuses the list of containers to credentials that it knows.
_MAY_NOT_LIST = (
    "AuthorizationPermissionMismatch",
    "AuthorizationResourceTypeMismatch",
    "AuthorizationServiceMismatch",
)


def check_storage(site: Site, environ: Mapping[str, str]) -> Finding:
    """What one small request with the site's credentials tells of its account."""
    if site.storage_account is None and site.storage_endpoint is None:
        return Finding(
            "storage", "note", _WHERE, "No account is set (AZURE_STORAGE_ACCOUNT); azure:// needs one."
        )
    try:
        # Any container does: the account alone is asked.
        location = parse_location("azure://any", environ)
        credentials = find_credentials(environ)
    except HpcaiError as error:
        return Finding("storage", "error", _WHERE, error.what, _fix(error))
    assert isinstance(location, BlobLocation)
    return _tried(location, credentials, environ)


def _tried(location: BlobLocation, credentials: Credentials, environ: Mapping[str, str]) -> Finding:
    """What the service says to the smallest request that credentials are needed for."""
    from hpcai.staging.answers import RefusedError
    from hpcai.staging.control import list_containers

    what = _KINDS[type(credentials).__name__]
    try:
        list_containers(location, credentials, most=1, timeout_s=ANSWER_TIMEOUT_S)
    except RefusedError as error:
        if error.code in _MAY_NOT_LIST or _is_of_one_container(credentials):
            return Finding(
                "storage",
                "note",
                _WHERE,
                f"{location.endpoint} answers; {what} may not list containers, and was not tried on one.",
                "hpcai data ls azure://CONTAINER  # tells",
            )
        refused = f"{location.endpoint} refuses {what} ({error.code or 'no reason given'})."
        return Finding("storage", "error", _WHERE, refused, _what_to_set(location, environ))
    except UnreachableError as error:
        reason = error.what.partition(f" for {location.url}: ")[2] or error.what
        fix = "Correct HPCAI_STORAGE_ENDPOINT or AZURE_STORAGE_ACCOUNT, or start what listens there."
        return Finding("storage", "error", _WHERE, f"{location.endpoint} does not answer: {reason}", fix)
    except HpcaiError as error:
        return Finding("storage", "error", _WHERE, error.what, _fix(error))
    return Finding("storage", "ok", _WHERE, f"{location.endpoint} is opened by {what}.")


def _is_of_one_container(credentials: Credentials) -> bool:
    # An account SAS has no `sr`, and every other SAS is of one container or blob.
    return isinstance(credentials, Sas) and "sr" in parse_qs(credentials.token.reveal())


def _what_to_set(location: BlobLocation, environ: Mapping[str, str]) -> str:
    names = ("HPCAI_STORAGE_CREDENTIALS", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN")
    source = next((name for name in names if environ.get(name)), None)
    if source is None:
        return f"Give your identity a role on {location.account!r}, such as Storage Blob Data Contributor."
    where = f"the file {environ[source]!r} ({source})" if source == names[0] else source
    return f"Put a key or SAS of {location.account!r} that has not expired into {where}."


def _fix(error: HpcaiError) -> str | None:
    return " ".join(part for part in (error.allowed, error.next_step) if part) or None
