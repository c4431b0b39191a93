"""The script that a job's command starts: whether it is there, here and on the nodes."""

from __future__ import annotations

import os.path
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from hpcai.check import paths
from hpcai.check.findings import Finding
from hpcai.check.places import Sight
from hpcai.render.resolved import ResolvedJob

_SCRIPTS = (".py", ".sh", ".bash", ".pl", ".r", ".R", ".jl")
_READ_BY_SHELL = re.compile(r"[$`*?{}<>~\\]")
# What starts a script that it is given; to any other program a name may mean anything.
_STARTERS = re.compile(
    r"(python|pypy)[\d.]*|(ba|da|k|z)?sh|torchrun|accelerate|deepspeed|horovodrun|mpirun|mpiexec|srun"
    r"|Rscript|julia|perl|env|time|nice|nohup|numactl|taskset|stdbuf|timeout|nsys|ncu|coverage"
)
_ASSIGNMENT = re.compile(r"\w+=.*", re.DOTALL)


def check_command(job: ResolvedJob, sight: Sight) -> Iterator[Finding]:
    """Findings about the first script that the command names."""
    spec = job.spec
    word = script_of(spec.command)
    if word is None:
        return
    if spec.container is not None and not _is_mounted(job, word):
        return
    path = Path(os.path.normpath(job.workdir / word))
    entry = paths.looked_at(path)
    if entry.refused:
        yield paths.closed(path, entry.refused, "command", is_sure=sight.absent_for_sure(path))
        return
    if not entry.is_there:
        # A line of setup may make it, and what is absolute may lie on the nodes alone.
        is_sure = not spec.setup and (not word.startswith("/") or sight.absent_for_sure(path))
        what = f"The command starts {word!r}, and there is no {str(path)!r}."
        fix = "Correct the command, or set workdir to the folder that it is in."
        yield Finding("script-missing", "error" if is_sure else "warning", "command", what, fix)
        return
    only_here = sight.only_here(path)
    # Of what lies in workdir, the finding about workdir tells.
    if only_here and not path.is_relative_to(job.workdir):
        fix = f"Put it into a folder that all nodes see; {sight.show(path)}"
        yield Finding("script-not-on-nodes", "warning", "command", only_here, fix)


def script_of(command: str) -> str | None:
    """The path of the script that a command starts first; None where that cannot be told.

    `python -u train.py --lr 1` is train.py; `cd x && ./a.sh` and `python -m pkg` are None.
    """
    first = re.split(r"&&|\|\|?|;|&|\n", command.strip(), maxsplit=1)[0]
    try:
        words = shlex.split(first, comments=True)
    except ValueError:
        return None
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    if not words:
        return None
    program = words[0]
    if program.endswith(_SCRIPTS) or ("/" in program and not program.startswith("/")):
        # The program itself; one that only a shell can name is not known.
        return None if _READ_BY_SHELL.search(program) else program
    if _STARTERS.fullmatch(program.rpartition("/")[2]) is None:
        return None
    for word in words:
        if word in ("-m", "-c"):
            return None
        if word.endswith(_SCRIPTS) and not word.startswith("-"):
            return None if _READ_BY_SHELL.search(word) or "://" in word else word
    return None


def _is_mounted(job: ResolvedJob, word: str) -> bool:
    """Whether what a container's task starts is a file of the host."""
    container = job.spec.container
    assert container is not None
    inside = container.workdir or str(job.workdir)
    path = os.path.normpath(f"{inside}/{word}" if not word.startswith("/") else word)
    return Path(path).is_relative_to(job.workdir)
