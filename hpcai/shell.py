"""Starts other programs: argv lists, time limits and typed failures. No other module does."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn, TypeAlias

from hpcai.errors import HpcaiError, ToolError, UnreachableError

# A program that was started and left running.
Running: TypeAlias = subprocess.Popen[bytes]
# For `start`: output that the caller reads; errors that go where the output goes.
PIPE = subprocess.PIPE
TO_STDOUT = subprocess.STDOUT
# What this machine or user has too little of just now, such as processes on a login node.
_SHORT_OF = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class ProgramMissing(ToolError):
    """The program is not on PATH."""


class ProgramUnusable(ToolError):
    """The file is there, and the system does not start it."""


class NoRoomToStart(UnreachableError):
    """This machine or user has no room for one more process just now."""


class ProgramFailed(ToolError):
    """The program ran and ended with a status that is not 0."""

    def __init__(self, done: Completed) -> None:
        last = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()[-1]
        super().__init__(f"{done.program} ended with status {done.status}: {last}")
        self.done = done


class ProgramTimedOut(UnreachableError):
    """The program did not end within its time limit and was killed; `printed` is its stdout until then."""

    def __init__(self, what: str, *, printed: str = "") -> None:
        super().__init__(what)
        self.printed = printed


@dataclass(frozen=True)
class Completed:
    """What a program that has ended left behind."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    @property
    def program(self) -> str:
        return Path(self.argv[0]).name


def _did_not_start(program: str, error: OSError) -> HpcaiError:
    """The typed failure for what the system said when it was asked to start a program."""
    if isinstance(error, FileNotFoundError):
        return ProgramMissing(f"{program!r} is not on PATH.")
    what = f"{program!r} cannot be started: {error.strerror}."
    if error.errno in _SHORT_OF:
        return NoRoomToStart(what, next_step="`ulimit -a` shows what this user may have; try again later.")
    is_script = error.errno == errno.ENOEXEC
    how = "A script's first line names its interpreter, such as #!/bin/sh." if is_script else None
    return ProgramUnusable(what, allowed=how)


def find_program(name: str, *, env: Mapping[str, str] | None = None, next_step: str | None = None) -> Path:
    """The absolute path of a program on PATH (`env`'s PATH when given).

    Raises ProgramMissing, with `next_step` as its last line.
    """
    found = shutil.which(name, path=None if env is None else env.get("PATH"))
    if found is None:
        raise ProgramMissing(f"{name!r} is not on PATH.", next_step=next_step)
    return Path(found)


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    check: bool = True,
) -> Completed:
    """The outcome of a program that ran to its end; `env` replaces the whole environment.

    Raises ProgramMissing, ProgramUnusable, NoRoomToStart, ProgramTimedOut, and with `check` ProgramFailed.
    """
    words = [os.fspath(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            timeout=timeout_s,
            env=None if env is None else dict(env),
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise _did_not_start(words[0], error) from error
    except subprocess.TimeoutExpired as error:
        raise ProgramTimedOut(f"{Path(words[0]).name} did not answer within {timeout_s:g} s.") from error
    outcome = Completed(tuple(words), done.returncode, done.stdout, done.stderr)
    if check and outcome.status != 0:
        raise ProgramFailed(outcome)
    return outcome


def run_alone(
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
) -> Completed:
    """As `run` without `check`; at a time limit or a Ctrl-C all that the program has started is killed too.

    A site's wrapper around a program would else leave the program itself behind, which goes on.
    """
    words = [os.fspath(word) for word in argv]
    try:
        process = subprocess.Popen(
            words,
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL if stdin is None else PIPE,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise _did_not_start(words[0], error) from error
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout_s)
    except BaseException as error:
        _kill_session(process)
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        raise ProgramTimedOut(
            f"{Path(words[0]).name} did not answer within {timeout_s:g} s.",
            printed=(error.stdout or b"").decode(errors="replace"),
        ) from error
    texts = (text.decode(errors="replace") for text in (stdout, stderr))
    return Completed(tuple(words), process.returncode, *texts)


def _kill_session(process: Running) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # What has left the session may hold the other ends open.
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def start(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
    new_session: bool = False,
) -> Running:
    """A program left running; the caller owns it and must wait for it.

    Raises ProgramMissing, ProgramUnusable, NoRoomToStart.
    """
    words = [os.fspath(word) for word in argv]
    try:
        return subprocess.Popen(
            words,
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=new_session,
        )
    except OSError as error:
        raise _did_not_start(words[0], error) from error


def ends_within(program: Running, timeout_s: float) -> bool:
    """Whether a program that was started ends by itself in this time."""
    try:
        program.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def call(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> int:
    """The exit status of a program that uses this process's terminal, 128 + signal when killed.

    Raises ProgramMissing, ProgramUnusable, NoRoomToStart.
    """
    words = [os.fspath(word) for word in argv]
    try:
        status = subprocess.call(words, env=None if env is None else dict(env))
    except OSError as error:
        raise _did_not_start(words[0], error) from error
    return status if status >= 0 else 128 - status


def become(argv: Sequence[str | Path], *, env: Mapping[str, str]) -> NoReturn:
    """Never returns: the program takes this process's place, so that signals and the terminal are its own.

    Raises ProgramMissing, ProgramUnusable, NoRoomToStart.
    """
    words = [os.fspath(word) for word in argv]
    program = find_program(words[0], env=env)
    try:
        os.execve(program, words, dict(env))
    except OSError as error:
        raise _did_not_start(words[0], error) from error
