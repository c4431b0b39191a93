"""What Blob storage's answers mean, whichever client got them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hpcai.errors import HpcaiError, NotFoundError, ToolError, UnreachableError, did_you_mean
from hpcai.staging.location import BlobLocation
from hpcai.staging.source import ChangedError, NoSuchBlob

BUSY = (408, 429, 500, 502, 503, 504)
CONTAINER_MISSING = "ContainerNotFound"


class RefusedError(ToolError):
    """The service answered, and these credentials do not open what was asked for; `code` is its own word."""

    def __init__(self, code: str | None, what: str, *, allowed: str, next_step: str) -> None:
        super().__init__(what, allowed=allowed, next_step=next_step)
        self.code = code


def translate(location: BlobLocation, what: str, status: int, code: str | None) -> HpcaiError:
    """Our error for an answer of Blob storage to a request for `what`."""
    if status == 404 and code == CONTAINER_MISSING:
        return no_container(location, [])
    if status == 404:
        return NoSuchBlob(f"{what} does not exist.")
    if status in (401, 403):
        return RefusedError(
            code,
            f"{what} was refused by {location.account!r} (HTTP {status}, {code or 'no reason given'}).",
            allowed="The key, SAS or role must allow it and not have expired.",
            next_step="Check HPCAI_STORAGE_CREDENTIALS, or the roles of your identity (Storage Blob Data).",
        )
    if status == 412:
        return ChangedError(
            f"{what} has changed since its manifest was written.",
            allowed="A data set is taken whole or not at all: versions are never mixed.",
            next_step="If a push is under way, try again after it; else `hpcai data push` it again.",
        )
    if status == 416:
        return ChangedError(f"{what} is shorter than its manifest says.")
    return ToolError(f"{what} was answered with HTTP {status} ({code or 'no reason given'}).")


def no_container(location: BlobLocation, known: Sequence[str]) -> NotFoundError:
    """Our error for a container that is missing; `known` are those that exist, as far as may be told."""
    made = location if location.prefix else location.below("NAME")
    return NotFoundError(
        f"There is no container {location.container!r} in the storage account {location.account!r}.",
        allowed=f"There are: {', '.join(known[:5])}{' and more' if len(known) > 5 else ''}."
        if known
        else None,
        next_step=did_you_mean(location.container, known)
        or f"`hpcai data push DIR {shlex.quote(made.url)}` makes it.",
    )


def unanswered(location: BlobLocation, why: str) -> UnreachableError:
    """Our error for a request that got no answer at all."""
    return UnreachableError(
        f"{location.endpoint} does not answer for {location.url}: {why}.",
        next_step="Check the network, HPCAI_STORAGE_ENDPOINT and the account's name, then run it again.",
    )
