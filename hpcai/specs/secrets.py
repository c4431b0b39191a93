"""Secrets of a job, by reference: where each value lies, never the value itself.

No message here repeats what was got: somebody may have written the value where its reference belongs.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, PlainValidator

from hpcai.specs.fields import wrong

Scheme = Literal["file", "env", "keyvault"]
# The hosts of Azure's clouds; a name without a dot is a vault of the public one.
VAULT_HOSTS = ("vault.azure.net", "vault.usgovcloudapi.net", "vault.azure.cn")
_VAULT = rf"[A-Za-z][A-Za-z0-9-]{{2,23}}(?:\.(?:{'|'.join(map(re.escape, VAULT_HOSTS))}))?"
_KEY_VAULT = re.compile(rf"keyvault://{_VAULT}/[A-Za-z0-9-]{{1,127}}(?:/[0-9a-f]{{32}})?")
_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_FILE = re.compile(r"file:(?://)?([/~][^\x00-\x1f\x7f]*)")
_ALLOWED = (
    "is no reference (it is not repeated here, since it may be the secret itself); "
    "file:/PATH, env:NAME or keyvault://VAULT/NAME[/VERSION]"
)


@dataclass(frozen=True)
class Reference:
    """Where a secret lies: `place` is a path, a variable's name, or VAULT/NAME[/VERSION]."""

    scheme: Scheme
    place: str

    def __str__(self) -> str:
        return f"{self.scheme}:{'//' if self.scheme == 'keyvault' else ''}{self.place}"


def parse_reference(text: str) -> Reference:
    """The reference that a valid text is. Raises ValueError without repeating it."""
    if found := _FILE.fullmatch(text):
        return Reference("file", _path(found[1]))
    if found := _ENV.fullmatch(text):
        return Reference("env", found[1])
    if _KEY_VAULT.fullmatch(text):
        return Reference("keyvault", text.removeprefix("keyvault://"))
    raise ValueError("no reference")


def _path(text: str) -> str:
    try:
        return text if text.startswith("/") else str(Path(text).expanduser())
    except RuntimeError:
        raise ValueError("the home of nobody") from None


def _reference(value: object) -> str:
    try:
        reference = parse_reference(value if isinstance(value, str) else "")
    except ValueError:
        raise wrong(_ALLOWED) from None
    if reference.scheme == "file" and not reference.place.startswith("/"):
        raise wrong(_ALLOWED)
    return str(reference)


def _is_map(value: object) -> object:
    if not isinstance(value, dict):
        raise wrong(
            "is no map (it is not repeated here, since it may be a secret); variables and where each lies, "
            "such as secrets: {TOKEN: file:/home/me/token}"
        )
    return value


SecretReference = Annotated[str, PlainValidator(_reference, json_schema_input_type=str)]
IsMap = BeforeValidator(_is_map)


def stash_of(folder: Path, run_dir: Path) -> Path:
    """Where a run's secrets from its submitter's environment lie, below the user's own folder of secrets."""
    digest = hashlib.sha256(str(run_dir).encode()).hexdigest()[:12]
    return folder / f"{run_dir.parent.name}.{run_dir.name}.{digest}"
