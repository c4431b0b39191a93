"""What opens a storage account: an account key, a SAS, or the identity that the machine or person has.

Keys come from a file of mode 0600 named by HPCAI_STORAGE_CREDENTIALS, else from AZURE_STORAGE_KEY or
AZURE_STORAGE_SAS_TOKEN; without any of them azure-identity's DefaultAzureCredential is asked.
"""

from __future__ import annotations

import base64
import binascii
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hpcai.errors import HpcaiError, NotFoundError, SpecError, UsageError

FILE_VARIABLE = "HPCAI_STORAGE_CREDENTIALS"
_FIELDS = ("account_key", "sas")
_ALLOWED = 'The file holds {"account_key": "..."} or {"sas": "..."} and only its owner may read it.'


class Secret:
    """A text that no print, log, record or pickle shows; `reveal` gives it to whom it is for."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


@dataclass(frozen=True)
class AccountKey:
    """Shared-key access to everything in an account."""

    key: Secret


@dataclass(frozen=True)
class Sas:
    """A shared access signature, without the leading question mark."""

    token: Secret


@dataclass(frozen=True)
class Identity:
    """Whoever this machine or person is to Microsoft Entra ID."""


Credentials = AccountKey | Sas | Identity


def find_credentials(environ: Mapping[str, str]) -> Credentials:
    """The first credentials that the environment names.

    Raises NotFoundError, UsageError and SpecError when they are named but cannot be used.
    """
    if path := environ.get(FILE_VARIABLE):
        return _from_file(Path(path).expanduser())
    if key := environ.get("AZURE_STORAGE_KEY"):
        return _account_key(key, UsageError("AZURE_STORAGE_KEY is not base64, so it is no account key."))
    if token := environ.get("AZURE_STORAGE_SAS_TOKEN"):
        return _sas(token, UsageError("AZURE_STORAGE_SAS_TOKEN has no `sig=`, so it is no SAS."))
    return Identity()


def _from_file(path: Path) -> Credentials:
    where = f"The credentials file {str(path)!r} ({FILE_VARIABLE})"
    try:
        mode = path.stat().st_mode
        text = path.read_text()
    except FileNotFoundError as error:
        raise NotFoundError(f"{where} does not exist.", allowed=_ALLOWED) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{where} cannot be read: {error}.", allowed=_ALLOWED) from error
    if mode & 0o077:
        raise UsageError(
            f"{where} has mode {mode & 0o777:04o}: others may read it.",
            allowed=_ALLOWED,
            next_step=f"chmod 600 {shlex.quote(str(path))}",
        )
    return _from_document(_document(text, where), where)


def _document(text: str, where: str) -> dict[str, str]:
    try:
        document = json.loads(text)
    except ValueError:
        # The cause is not chained: it would carry the text of the file.
        raise SpecError(f"{where} is not JSON.", allowed=_ALLOWED) from None
    if isinstance(document, dict) and len(document) == 1:
        field, value = next(iter(document.items()))
        if field in _FIELDS and isinstance(value, str):
            return document
    got = sorted(document) if isinstance(document, dict) else type(document).__name__
    raise SpecError(f"{where} does not hold exactly one secret (it has {got}).", allowed=_ALLOWED)


def _from_document(document: dict[str, str], where: str) -> Credentials:
    if "account_key" in document:
        return _account_key(document["account_key"], SpecError(f"{where}: account_key is not base64."))
    return _sas(document["sas"], SpecError(f"{where}: sas has no `sig=`, so it is no SAS."))


def _account_key(text: str, otherwise: HpcaiError) -> AccountKey:
    key = text.strip()
    try:
        if not base64.b64decode(key, validate=True):
            raise otherwise
    except binascii.Error:
        raise otherwise from None
    return AccountKey(Secret(key))


def _sas(text: str, otherwise: HpcaiError) -> Sas:
    token = text.strip().lstrip("?")
    if "sig=" not in token:
        raise otherwise
    return Sas(Secret(token))
