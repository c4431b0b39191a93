"""A job's secrets, read where their references lead; no error tells anything of a value."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from hpcai.errors import HpcaiError, NotFoundError, UsageError
from hpcai.specs.secrets import Reference
from hpcai.staging.credentials import Secret

# The kernel takes no longer `NAME=value` (32 pages); the name needs some of it.
LONGEST = 128 * 1024 - 300
_PRIVATE = "A secret's file is yours and of mode 0600: nobody else may read it."


def read_here(variable: str, reference: Reference, environ: Mapping[str, str]) -> Secret | None:
    """The value that this machine can read now; None for one of a key vault, which the node reads.

    Raises NotFoundError for a file or variable that is not there, UsageError for one that cannot be used.
    """
    if reference.scheme == "keyvault":
        return None
    if reference.scheme == "env":
        text = environ.get(reference.place)
        if text is None:
            raise NotFoundError(
                f"The secret {variable} comes from the variable {reference.place}, which is not set here.",
                next_step=f"Set it without leaving it in the history: `read -rs {reference.place}; "
                f"export {reference.place}`.",
            )
        what = f"The variable {reference.place}, where the secret {variable} comes from,"
    else:
        text = _text_of(Path(reference.place), variable)
        what = f"The file {reference.place!r} of the secret {variable}"
    _require_value(text, what)
    return Secret(text)


def _text_of(path: Path, variable: str) -> str:
    where = f"The file {str(path)!r} of the secret {variable}"
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            status = os.fstat(file.fileno())
            _refuse_shared(path, where, status)
            # As the shell does on the node.
            return file.read(2 * LONGEST).rstrip("\n")
    except FileNotFoundError as error:
        raise NotFoundError(f"{where} does not exist.", allowed=_PRIVATE) from error
    except OSError as error:
        raise UsageError(f"{where} cannot be read: {error.strerror}.", allowed=_PRIVATE) from error


def _refuse_shared(path: Path, where: str, status: os.stat_result) -> None:
    if status.st_uid != os.getuid():
        raise UsageError(
            f"{where} belongs to the user with the number {status.st_uid}.",
            allowed=_PRIVATE,
            next_step="Copy the secret into a file of your own.",
        )
    if status.st_mode & 0o077:
        raise UsageError(
            f"{where} has mode {status.st_mode & 0o777:04o}: others may read it.",
            allowed=_PRIVATE,
            next_step=f"chmod 600 {shlex.quote(str(path))}",
        )


def _require_value(text: str, what: str) -> None:
    problem: HpcaiError | None = None
    if not text.strip("\n"):
        problem = UsageError(f"{what} is empty.")
    elif "\0" in text:
        problem = UsageError(f"{what} holds a zero byte, which no variable can.")
    elif len(text.encode(errors="surrogateescape")) > LONGEST:
        problem = UsageError(f"{what} holds more than {LONGEST} bytes, which no variable can.")
    if problem is not None:
        raise problem
