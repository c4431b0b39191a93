"""What an array asks for, held against what this Slurm takes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from hpcai.slurm.limits import Breach
from hpcai.specs.job import JobSpec
from hpcai.units import parse_array


def array_breaches(job: JobSpec, config: Mapping[str, str]) -> Iterator[Breach]:
    """What of an array Slurm refuses; `config` is slurmctld's. Nothing for a job that is no array."""
    if job.array is None:
        return
    ids, _ = parse_array(job.array)
    size = _number(config.get("MaxArraySize", ""))
    if size is not None and ids[-1] >= size:
        what = f"array: {job.array} has a task {ids[-1]}, and MaxArraySize of this Slurm is {size}"
        if size == 0:
            yield Breach("array-too-large", "array", f"{what}: it takes no arrays.", "Leave array out.")
        else:
            yield Breach(
                "array-too-large",
                "array",
                f"{what}.",
                f"Number tasks up to {size - 1}; of more, submit several arrays.",
            )
    most = re.search(r"\bmax_array_tasks=(\d+)", config.get("SchedulerParameters", ""))
    if most and len(ids) > int(most[1]):
        what = f"array: {job.array} has {len(ids)} tasks, and this Slurm allows {most[1]} per array."
        fix = f"Submit several arrays of {most[1]} tasks or less."
        yield Breach("array-too-large", "array", what, fix)
    jobs = _number(config.get("MaxJobCount", ""))
    if jobs and len(ids) > jobs:
        what = f"array: {job.array} has {len(ids)} tasks, and Slurm here holds {jobs} jobs (MaxJobCount)."
        yield Breach("array-too-large", "array", what, "Submit it in parts.")


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
