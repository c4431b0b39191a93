"""A script of the user's own becomes a run: sbatch gets it as it is, and only its record is ours."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpcai.errors import SlurmError, StageError
from hpcai.launch.script import submit_to
from hpcai.runs.record import BARE, Run, create_run
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.sbatch_lines import Script, read_script
from hpcai.specs.site import Site
from hpcai.units import parse_array

LOG = logging.getLogger(__name__)
EXPERIMENT = "default"
_LONGEST_NAME = 80


def submit_bare(content: bytes, file: Path | None, *, site: Site, client: SlurmClient) -> Run:
    """The record of a script that now waits in the queue; when Slurm refuses, no record stays.

    sbatch reads `file` itself, by the path that was given; without one, `content` from its stdin.
    Raises SlurmError, UnreachableError, StageError.
    """
    run = _make_record(site, content, _facts(_read(content), file, client.environ))
    given = content if file is None else file
    _submit(run, lambda mark: client.submit(given, mark=mark, as_is=True))
    if file is not None and _content_of(file) != content:
        LOG.warning("%s was changed while it was submitted: what the record keeps may be older.", file)
    return run


def submit_again(parent: Run, *, site: Site, client: SlurmClient) -> Run:
    """The same for the copy in a run's record, under the same name and in the same folder as then.

    Of a task of an array that task alone. Raises StageError, too, when the record lacks them.
    """
    content = copy_of(parent)
    facts = {key: value for key, value in parent.resolved().items() if key != "schema_version"}
    args = []
    if parent.task is not None:
        facts["array"] = str(parent.task)
        args.append(f"--array={parent.task}")
    if _read(content).value("job-name") is None and "SBATCH_JOB_NAME" not in client.environ:
        args.append(f"--job-name={Path(facts['file']).name if facts.get('file') else 'sbatch'}")
    workdir = Path(str(facts.get("workdir")))
    if not workdir.is_dir():
        raise StageError(f"The folder {str(workdir)!r}, in which {parent.name} was submitted, is gone.")
    run = _make_record(site, content, facts, parent)

    def ask(mark: str) -> int:
        return client.submit(run.paths.script, args=args, mark=mark, as_is=True, workdir=workdir)

    _submit(run, ask)
    return run


def copy_of(run: Run) -> bytes:
    """The bytes of the script that Slurm was given. Raises StageError."""
    content = _content_of(run.paths.script)
    if content is None:
        raise StageError(f"{str(run.paths.script)!r} cannot be read.")
    return content


def _make_record(site: Site, content: bytes, facts: Mapping[str, Any], parent: Run | None = None) -> Run:
    experiment, name = facts["experiment"], facts["name"]
    return create_run(
        site.runs_root, experiment, name, spec_text=None, resolved=facts, script=content, parent=parent
    )


def _read(content: bytes) -> Script:
    return read_script(content.decode("utf-8", "surrogateescape"))


def _submit(run: Run, ask: Callable[[str], int]) -> None:
    try:
        submit_to(run, ask)
    except SlurmError as error:
        error.next_step = error.next_step and _in_options(error.next_step)
        raise


def _in_options(advice: str) -> str:
    """The advice with sbatch's options where it names keys of a job's file."""
    names = {"mem_gib": "mem", "time_min": "time"}
    return re.sub(
        r"`(\w+):`", lambda key: f"`#SBATCH --{names.get(key[1], key[1].replace('_', '-'))}`", advice
    )


def _facts(script: Script, file: Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """What stands in the place of a resolved spec."""
    named = environ.get("SBATCH_JOB_NAME") or script.value("job-name")
    facts: dict[str, Any] = {
        "kind": BARE,
        "name": folder_name(named or (file.stem if file else "")),
        "experiment": EXPERIMENT,
        "file": None if file is None else str(file.absolute()),
        "workdir": str(Path.cwd()),
    }
    array = environ.get("SBATCH_ARRAY_INX") or script.value("array")
    if array is not None and _is_array(array):
        facts["array"] = array
    nodes = re.match(r"\d+", script.value("nodes") or "1")
    return {**facts, "nodes": int(nodes[0]) if nodes else 1}


def folder_name(text: str) -> str:
    """The name that a run may have: a job's name, or a file's, without what is no letter or digit."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")
    return name[:_LONGEST_NAME].rstrip("-._") or "script"


def _is_array(text: str) -> bool:
    try:
        parse_array(text)
    except ValueError:
        # sbatch tells itself what is wrong with it.
        return False
    return True


def _content_of(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def output_of(run: Run, job: JobInfo | None) -> list[Path]:
    """Where a bare script's stdout and stderr go, one path when they are the same; none where nobody tells.

    Slurm tells it while it knows the job, afterwards the record; some accounting does too.
    """
    if job is not None and job.state != "PENDING" and (job.stdout or not job.is_forgotten):
        return _different(job.stdout, job.stderr)
    told = next((end for end in reversed(run.ends()) if end.get("stdout")), {})
    return _different(told.get("stdout"), told.get("stderr"))


def output_of_job(job: JobInfo) -> list[Path]:
    """The same of a job without a record."""
    return _different(job.stdout, job.stderr)


def _different(*paths: object) -> list[Path]:
    return [Path(path) for path in dict.fromkeys(paths) if isinstance(path, str)]
