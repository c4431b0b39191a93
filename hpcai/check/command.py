"""What a job's command starts: whether its script is there, and whether each task may start it."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpcai.check import paths
from hpcai.check.bash.commands import Command, read_commands
from hpcai.check.bash.programs import begin_of_program, told_to_shell
from hpcai.check.bash.values import Text
from hpcai.check.bash.words import UNKNOWN
from hpcai.check.findings import Finding
from hpcai.check.places import Sight
from hpcai.check.script_sruns import read_options
from hpcai.render.options import tasks
from hpcai.render.resolved import ResolvedJob
from hpcai.specs.job import JobSpec

_SCRIPTS = (".py", ".sh", ".bash", ".pl", ".r", ".R", ".jl")
_PATTERN = re.compile(r"[*?\[]")
# What starts a script that it is given; to any other program a name may mean anything.
_STARTERS = re.compile(
    r"(python|pypy)[\d.]*|(ba|da|k|z)?sh|torchrun|accelerate|deepspeed|horovodrun|mpirun|mpiexec|srun"
    r"|Rscript|julia|perl|nsys|ncu|coverage"
)


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


# What starts ranks by itself -> the launcher that does the same.
_LAUNCHERS = {"mpirun": "mpi", "mpiexec": "mpi", "horovodrun": "horovod", "torchrun": "torchrun"}
# With these srun shares what the task's own step holds, is another job's, or starts nothing.
_HARMLESS = frozenset(("overlap", "jobid", "help", "usage", "version", "test-only", "V", "h"))
# A variable that makes steps share, or lets a srun forget the job that it is in.
_ELSEWHERE = re.compile(r"SLURM_OVERLAP|unset\b[^;\n]*\bSLURM|\bSLURM_JOB_?ID=")
_OF_A_TASK = re.compile(r"SLURM_(PROCID|LOCALID|NODEID)|PMIX?_RANK|OMPI_COMM_WORLD")


def check_launchers(spec: JobSpec) -> Iterator[Finding]:
    """Findings about what the command launches, which is started once per task already."""
    for number, part in enumerate(spec.parts):
        own = spec.components and spec.components[number].command is not None
        where = f"components[{number}].command" if own else "command"
        yield from _launched(part, where)
    for index, line in enumerate(spec.setup):
        for one in read_commands(line):
            if one.program == "srun":
                yield from _srun(one, spec, f"setup[{index}]", is_sure=False)


def _launched(spec: JobSpec, where: str) -> Iterator[Finding]:
    told: set[str] = set()
    is_sure = True
    for one in read_commands(spec.command):
        is_sure = is_sure and one.program not in ("exit", "return")
        inner = told_to_shell(one.arguments)
        for each in (one, *(read_commands(inner) if inner is not None else ())):
            program = each.program or ""
            is_plain = each is one and not one.depth and not one.may_be_skipped
            found: list[Finding] = []
            if program == "srun" and program not in told:
                found = list(_srun(each, spec, where, is_sure=is_sure and is_plain))
            elif program in _LAUNCHERS and program not in told:
                found = list(_ranks(program, spec, where))
            told |= {program} if found else set()
            yield from found
        is_sure = is_sure and not (one.words and one.words[0].bare == "exec")


def _srun(one: Command, spec: JobSpec, where: str, *, is_sure: bool) -> Iterator[Finding]:
    said = (spec.command, *spec.setup)
    words = [Text(word, 0, 0) for word in one.arguments[1:]]
    options, *_ = read_options(words)
    is_list = any(text.text == "list" for text in options.get("mpi", ()))
    if is_list or _HARMLESS & options.keys() or any(map(_ELSEWHERE.search, said)):
        return
    # A step with CPUs of its own leaves the node's others free.
    is_sure = is_sure and not (spec.exclusive and spec.cpus_per_task)
    many = "a step of srun's" if tasks(spec) == 1 else f"one of {tasks(spec)} tasks of srun's"
    what = f"The command runs in {many}, which holds all that the job has: an srun inside it waits for ever."
    fix = "Leave srun out: Slurm starts the command once per task by itself."
    yield Finding("launcher-in-command", "error" if is_sure else "warning", where, what, fix)


def _ranks(program: str, spec: JobSpec, where: str) -> Iterator[Finding]:
    """What starts ranks by itself, and would do so in each task."""
    launcher = _LAUNCHERS[program]
    each = spec.ntasks_per_node or -(-(spec.ntasks or spec.nodes) // spec.nodes)
    is_same = spec.launcher == launcher
    # One torchrun on each node is how its ranks are started by hand.
    count = each * spec.nodes if is_same or launcher != "torchrun" else each
    is_told = spec.container is not None and launcher != "torchrun"
    if count == 1 or is_told or _OF_A_TASK.search(spec.command):
        return
    ranks = each * spec.nodes
    what = f"Each of the {ranks} tasks would start {program}, and with it ranks that know only each other."
    fix = f"Leave {program} out: launcher: {launcher} starts the ranks."
    yield Finding("launcher-in-command", "warning", where, what, fix)


# What does not fail, or whose failure nobody means.
_CALM = frozenset(
    ("echo", "printf", "export", "unset", "set", "shopt", "ulimit", "umask", "trap", "declare", "readonly")
) | frozenset((":", "true", "date", "hostname", "pwd", "sleep", "wait", "exit", "alias"))


def check_lines(spec: JobSpec) -> Iterator[Finding]:
    """A warning for each command that goes on behind a part of it that failed."""
    for where, text in spec.commands:
        masked, piped = _masked(text), _piped(text)
        one = piped if masked is None or (piped and masked.before in ("|", "|&")) else masked
        if one is None:
            continue
        at = f" in line {one.words[0].line}" if "\n" in text.strip() else ""
        what = f"The command goes on when {one.program!r}{at} fails: only how its end went counts."
        fix = "Let the command begin with `set -e`, or join what belongs together with &&."
        if one is piped:
            what = (
                f"The command goes on when {one.program!r}{at} fails: of a pipe only the last program counts."
            )
            fix = "Let the command begin with `set -o pipefail`."
        yield Finding("failure-hidden", "warning", where, what, fix)


def _masked(text: str) -> Command | None:
    """The first simple command whose failure nobody would be told of; None where there is none."""
    before = read_commands(text)[:-1]
    if "$?" in text or "PIPESTATUS" in text or any(map(_heeds_failures, before)):
        return None
    for one in before:
        is_alone = not one.depth and not one.may_be_skipped and one.behind in ("\n", ";")
        if is_alone and one.program is not None and one.program not in _CALM:
            return one
    return None


def _piped(text: str) -> Command | None:
    """The first program or script of the user's own whose failure a pipe hides; None where there is none."""
    commands = read_commands(text)
    if "PIPESTATUS" in text or any("pipefail" in one.arguments for one in commands):
        return None
    for one in commands:
        is_alone = not one.depth and not one.may_be_skipped and one.behind in ("|", "|&")
        if is_alone and one.program is not None and _starts_own(one.arguments[0]):
            return one
    return None


def _starts_own(program: str) -> bool:
    """Whether it is a script, lies in a folder of the user's, or is given a script to start."""
    is_file = program.endswith(_SCRIPTS) or ("/" in program and not program.startswith("/"))
    return is_file or _STARTERS.fullmatch(program.rpartition("/")[2]) is not None


def _heeds_failures(one: Command) -> bool:
    words = one.arguments
    if one.program == "set":
        return "errexit" in words or any(re.fullmatch(r"-[a-z]*e[a-z]*", word) for word in words[1:])
    return one.program == "trap" and "ERR" in words


def script_of(command: str) -> str | None:
    """The path of the script that a command starts first; None where that cannot be told.

    `python -u train.py --lr 1` is train.py; `cd x && ./a.sh` and `python -m pkg` are None.
    """
    for one in read_commands(command):
        if not one.depth and not one.before:
            return script_among([word.text for word in one.words])
    return None


def script_among(words: Sequence[str]) -> str | None:
    """The same for one simple command, with UNKNOWN for what only the shell will know."""
    words = words[begin_of_program(words) :]
    program = words[0] if words else ""
    if not _starts_own(program):
        return None
    if _STARTERS.fullmatch(program.rpartition("/")[2]) is None:
        return _as_path(program)
    for word in words[1:]:
        is_option = word.startswith("-")
        # Of a word that nobody knows, the script may be one.
        if word in ("-m", "-c") or (UNKNOWN in word and not re.match(r"--?[\w-]+=", word)):
            return None
        if word.endswith(_SCRIPTS) and not is_option:
            return None if "://" in word else _as_path(word)
    return None


def _as_path(word: str) -> str | None:
    return None if UNKNOWN in word or _PATTERN.search(word) else word


def _is_mounted(job: ResolvedJob, word: str) -> bool:
    """Whether what a container's task starts is a file of the host."""
    container = job.spec.container
    assert container is not None
    inside = container.workdir or str(job.workdir)
    path = os.path.normpath(f"{inside}/{word}" if not word.startswith("/") else word)
    return Path(path).is_relative_to(job.workdir)
