"""A job's secrets as lines of its script: where each is read, never what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcai.render.environment import quote
from hpcai.specs.secrets import parse_reference


@dataclass(frozen=True)
class SecretLine:
    """One secret; `reader` is the command for bash that prints its value."""

    variable: str
    reference: str
    reader: str
    is_of_submitter: bool


def secret_lines(secrets: Mapping[str, str], stash: Path | None) -> Iterator[SecretLine]:
    """The lines of all secrets; `stash` is the folder that keeps those of the submitter's environment."""
    for variable, text in secrets.items():
        reference = parse_reference(text)
        if reference.scheme == "file":
            reader = f"cat -- {quote(reference.place)}"
        elif reference.scheme == "keyvault":
            reader = f'"$HPCAI_PYTHON" -m hpcai.staging.key_vault {quote(text)}'
        else:
            kept = "" if stash is None else str(stash / variable)
            reader = f"hpcai_kept {reference.place} {quote(kept)}"
        yield SecretLine(variable, text, reader, reference.scheme == "env")


def needs_stash(secrets: Mapping[str, str]) -> bool:
    """Whether some come from the submitter's environment."""
    return any(parse_reference(text).scheme == "env" for text in secrets.values())
