"""Steps become jobs that Slurm starts one after the other: all are submitted at once, and none is watched."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

from hpcai.errors import HpcaiError
from hpcai.launch import script
from hpcai.launch.data import refuse_missing_data
from hpcai.launch.resolve import preview, resolve
from hpcai.runs.record import Run
from hpcai.slurm.client import SlurmClient
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site
from hpcai.specs.steps import Step, Steps, variable

LOG = logging.getLogger(__name__)
# How Slurm says it, and whether of several all must come true or any.
_DEPENDENCY = {"completed": ("afterok", ","), "failed": ("afternotok", "?"), "ended": ("afterany", ",")}


def submit(steps: Steps, *, site: Site, client: SlurmClient) -> list[Run]:
    """The records of all steps, in their order; each names the steps that it belongs to.

    Nothing is submitted when one of the jobs could not run; when Slurm refuses one, those before it are
    cancelled.  Raises what `script.submit` raises.
    """
    for step in steps.steps:
        _refuse_what_cannot_run(step, site, client)
    runs: dict[str, Run] = {}
    try:
        for step in steps.steps:
            runs[step.name] = _submit(step, steps, runs, site, client)
    except BaseException:
        _take_back(list(runs.values()), client)
        raise
    return list(runs.values())


def _refuse_what_cannot_run(step: Step, site: Site, client: SlurmClient) -> None:
    try:
        resolved = resolve(step.job, site, client=client)
        script.refuse_hopeless(resolved.spec, client)
        refuse_missing_data(resolved, "slurm")
    except HpcaiError as error:
        error.what = f"Step {step.name!r}: {error.what}"
        raise


def preview_of(step: Step, steps: Steps, site: Site, client: SlurmClient | None) -> str:
    """The step's script without a record: whoever submits it says where those above left their outputs."""
    above = [one.name for one in steps.steps[: steps.steps.index(step)]]
    asks = {variable(name): f"where step {name} left its outputs" for name in above}
    return preview(step.job, site=site, client=client, asks=asks)


def dependency_of(step: Step, jobs: Mapping[str, str]) -> str:
    """What `--dependency` of sbatch says, with the job of each step before it."""
    word, joined = _DEPENDENCY[step.when]
    return joined.join(f"{word}:{jobs[name]}" for name in step.after)


def _submit(step: Step, steps: Steps, before: dict[str, Run], site: Site, client: SlurmClient) -> Run:
    job = job_of(step, before)
    text = script.text_of(job)
    if step.after:
        waits = dependency_of(step, {name: str(run.job_id) for name, run in before.items()})
        job = job.model_copy(update={"dependency": waits, "kill_on_invalid_dep": True})
    # That one before it may have ended otherwise already is Slurm's business: it leaves this one out.
    run = script.hand_over(resolve(job, site, client=client), client, site, text)
    after = [before[name].ident for name in step.after]
    run.append_event("part_of_steps", steps=steps.name, step=step.name, after=after)
    return run


def job_of(step: Step, before: dict[str, Run]) -> JobSpec:
    """The step's job with the places of what the steps above it leave behind.

    Of an array that is the folder of its tasks, with outputs/ in each.
    """
    places = {
        variable(name): str(run.paths.tasks_dir if run.task_ids() else run.paths.outputs)
        for name, run in before.items()
    }
    return step.job.model_copy(update={"env": {**places, **step.job.env}})


def _take_back(runs: Sequence[Run], client: SlurmClient) -> None:
    for run in reversed(runs):
        LOG.warning("%s is cancelled, since a step after it was not accepted.", run.name)
        with suppress(HpcaiError):
            client.cancel(str(run.job_id))
