"""A run's job once more, told by its record alone: as a job to submit, and as the command that submits it."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcai.errors import StageError, ToolError, UsageError
from hpcai.launch import local, script
from hpcai.runs.record import Run
from hpcai.slurm.client import SlurmClient
from hpcai.specs.job import JobSpec
from hpcai.specs.load import load_text
from hpcai.specs.site import Site

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Again:
    """A run's job as it was resolved then, with its code as it was then; perhaps with keys changed."""

    parent: Run
    spec: JobSpec
    text: str
    overrides: Sequence[str]

    def submit(self, site: Site, client: SlurmClient) -> Run:
        """The new run, whose job waits in the queue. Raises what `script.submit` raises."""
        return script.submit(self.spec, site=site, client=client, **self._more())

    def start_here(self, site: Site) -> local.LocalJob:
        """The same as processes of this machine."""
        return script.start_here(self.spec, site=site, **self._more())

    def _more(self) -> dict[str, Any]:
        return {"spec_text": self.text, "overrides": self.overrides, "parent": self.parent}


def job_of(run: Run, overrides: Sequence[str] = ()) -> Again:
    """What to submit for a run once more; settings and files of today change nothing in it.

    Raises ToolError for a function, StageError for a damaged record or code that is gone, UsageError and
    SpecError for `overrides` that do not fit.
    """
    fields = _fields(run)
    for override in overrides:
        if override.partition("=")[0] == "profile":
            raise UsageError(
                "A run's keys are those that its profile has filled in: --set profile does not change them.",
                next_step=f"hpcai submit {shlex.quote(str(run.paths.spec))} --set {shlex.quote(override)}",
            )
        if override.startswith("cpus_per_task=") and _is_filled_in(fields):
            del fields["env"]["OMP_NUM_THREADS"]
    text = json.dumps(fields, indent=2) + "\n"
    spec = load_text(text, f"{run.ident}: resolved.json", overrides, base=run.path, only=JobSpec)
    assert isinstance(spec, JobSpec)
    return Again(run, spec, text, overrides)


def _is_filled_in(fields: dict[str, Any]) -> bool:
    return bool(fields["env"].get("OMP_NUM_THREADS") == str(fields.get("cpus_per_task")))


def _fields(run: Run) -> dict[str, Any]:
    """The resolved spec as a job's file has it."""
    resolved = run.resolved()
    if not resolved:
        raise StageError(f"{str(run.paths.resolved)!r} is not there: nothing tells what {run.name} was.")
    if "SUBMITIT_EXECUTOR" in resolved.get("env", {}):
        raise ToolError(
            f"{run.name} is a Python function, whose arguments were of that one job.",
            next_step="Submit it again from Python, by hpcai.executor.",
        )
    fields = {key: value for key, value in resolved.items() if key in JobSpec.model_fields}
    fields |= {"kind": "job", "schedule": None}
    if fields.get("components"):
        # Each part has its own.
        del fields["nodes"]
    if fields.get("code") is not None:
        fields["code"] = _snapshot(run, Path(str(resolved["workdir"])))
    if run.task is not None:
        fields["array"] = str(run.task)
    waits_for = fields.get("dependency")
    if waits_for and waits_for != "singleton":
        LOG.warning("It does not wait, as %s did, for %s", run.name, waits_for)
        fields |= {"dependency": None, "kill_on_invalid_dep": None}
    return fields


def _snapshot(run: Run, workdir: Path) -> str:
    """The folder of the run's code, by the path that `workdir` is given by."""
    for folder in (workdir, *workdir.parents):
        if run.paths.code.exists() and folder.exists() and folder.samefile(run.paths.code):
            return str(folder)
    raise StageError(
        f"The code that {run.name} ran from is gone: {str(run.paths.code)!r}.",
        next_step=f"hpcai submit {shlex.quote(str(run.paths.spec))}",
    )


def submit_again(run: Run) -> str | None:
    """The command whose job is resolved to the same, in whatever folder it is typed.

    None for a function (`hpcai.executor`), whose pickle is of one job only.
    """
    if run.is_bare:
        return shlex.join(["hpcai", "rerun", run.ident])
    words = ["hpcai", "submit", str(run.paths.spec)]
    resolved = _resolved(run)
    env = resolved.get("env")
    if isinstance(env, dict) and "SUBMITIT_EXECUTOR" in env:
        return None
    overrides = _overrides(run)
    workdir = resolved.get("workdir")
    if isinstance(workdir, str):
        # The author's file may say none, or one beside itself; the copy in the record lies elsewhere.
        overrides = [one for one in overrides if not one.startswith("workdir=")] + [f"workdir={workdir}"]
    if run.paths.code.is_dir():
        # As it was then; the folder itself has gone on.
        overrides = [one for one in overrides if not one.startswith("code=")]
        overrides.append(f"code={run.paths.code.resolve()}")
    if run.task is not None:
        overrides = [one for one in overrides if not one.startswith("array=")] + [f"array={run.task}"]
    for override in overrides:
        words += ["--set", override]
    if run.is_local:
        words += ["--where", "local"]
    return shlex.join(words)


def _overrides(run: Run) -> list[str]:
    """What was laid over the author's file; records from before it was noted tell of nothing."""
    noted = next((event.get("overrides") for event in run.events() if event.get("event") == "created"), None)
    return [one for one in noted if isinstance(one, str)] if isinstance(noted, list) else []


def _resolved(run: Run) -> dict[str, object]:
    try:
        return run.resolved()
    except StageError:
        # A damaged file: what the rest of the record tells is better than nothing.
        return {}
