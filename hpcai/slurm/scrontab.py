"""The user's scrontab: marked blocks of lines in it, which leave everything else as it is."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hpcai import shell
from hpcai.errors import SlurmError
from hpcai.slurm.client import SlurmClient

_BEGIN, _END = "# BEGIN hpcai submit ", "# END hpcai submit "
_NONE = re.compile(r"no crontab for", re.IGNORECASE)
_DISABLED = re.compile(r"scrontab is disabled", re.IGNORECASE)
_TIMEOUT_S = 60.0


def blocks(text: str) -> dict[str, list[str]]:
    """Our blocks by the file that each submits. Raises SlurmError for one without its end."""
    found: dict[str, list[str]] = {}
    inside = None
    for line in text.splitlines():
        if line.startswith((_BEGIN, _END)) and (line.startswith(_BEGIN) != (inside is None)):
            raise _broken(line)
        if line.startswith(_BEGIN):
            inside = line.removeprefix(_BEGIN)
            found[inside] = []
        elif line.startswith(_END):
            if line.removeprefix(_END) != inside:
                raise _broken(line)
            inside = None
        elif inside is not None:
            found[inside].append(line)
    if inside is not None:
        raise _broken(_BEGIN + inside)
    return found


def without_block(text: str, file: str) -> str:
    """The scrontab without the block of a file."""
    blocks(text)
    kept, is_out = [], False
    for line in text.splitlines():
        is_out = is_out or line == _BEGIN + file
        if not is_out:
            kept.append(line)
        is_out = is_out and line != _END + file
    return "".join(f"{line}\n" for line in kept)


def with_block(text: str, file: str, lines: Sequence[str]) -> str:
    """The scrontab with this block of a file, in place of one that it had."""
    block = [_BEGIN + file, *lines, _END + file]
    return without_block(text, file) + "".join(f"{line}\n" for line in block)


def _broken(line: str) -> SlurmError:
    return SlurmError(
        f"The scrontab has lines of hpcai that do not belong together: {line!r}.",
        next_step="`scrontab -e` edits it: each BEGIN needs its END.",
    )


def read(client: SlurmClient) -> str:
    """The user's scrontab, '' where there is none.

    Raises SlurmError where this Slurm or its commands have no scrontab.
    """
    done = _call(client, "-l")
    if done.status != 0 and not _NONE.search(done.stderr + done.stdout):
        raise _failure(done)
    return done.stdout if done.status == 0 else ""


def write(client: SlurmClient, text: str) -> None:
    """Puts a text in place of the user's scrontab. Raises SlurmError."""
    done = _call(client, "-", stdin=text) if text.strip() else _call(client, "-r")
    if done.status != 0:
        raise _failure(done)


def _call(client: SlurmClient, word: str, stdin: str | None = None) -> shell.Completed:
    try:
        program = shell.find_program("scrontab", env=client.environ)
    except shell.ProgramMissing as error:
        raise SlurmError(
            "`schedule:` needs the program scrontab, which is not among Slurm's commands here.",
            next_step="A Slurm from 20.11 on has it; its package may come apart from the others.",
        ) from error
    return shell.run([program, word], timeout_s=_TIMEOUT_S, env=client.environ, stdin=stdin, check=False)


def _failure(done: shell.Completed) -> SlurmError:
    words = "; ".join(line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip())
    if _DISABLED.search(words):
        return SlurmError(
            "`schedule:` needs scrontab, which this Slurm has disabled.",
            next_step="An administrator sets ScronParameters=enable in slurm.conf.",
        )
    return SlurmError(f"scrontab refused: {words}.")
