"""The command that submits a run's job once more, told by its record alone."""

from __future__ import annotations

import shlex

from hpcai.errors import StageError
from hpcai.runs.record import Run


def submit_again(run: Run) -> str | None:
    """The command whose job is resolved to the same, in whatever folder it is typed.

    None for a function (`hpcai.executor`), whose pickle is of one job only.
    """
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
