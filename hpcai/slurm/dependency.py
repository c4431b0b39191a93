"""What becomes of a job that waits for others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hpcai.errors import NotFoundError
from hpcai.slurm.limits import Breach

if TYPE_CHECKING:
    from hpcai.slurm.answers import JobInfo
    from hpcai.slurm.client import SlurmClient

_AFTER = re.compile(r"(afterok|afternotok):(\d+(?:\+\d+)?(?::\d+(?:\+\d+)?)*)")


def dependency_breach(dependency: str | None, client: SlurmClient) -> Breach | None:
    """The jobs whose end already keeps this one from ever starting; None when it may start.

    `dependency` as sbatch takes it: with `,` all of it must come true, with `?` any of it. Of a job that
    Slurm has forgotten nothing is known.
    """
    if not dependency:
        return None
    parts = re.split(r"[,?]", dependency)
    broken = [list(_broken(part, client)) for part in parts]
    if not (all if "?" in dependency else any)(broken):
        return None
    what = ", ".join(each for one in broken for each in one)
    return Breach(
        "dependency-never",
        "dependency",
        f"`{dependency}` cannot come true: {what}.",
        "Correct or leave out dependency.",
    )


def _broken(part: str, client: SlurmClient) -> Iterator[str]:
    """Why one part of a dependency cannot come true."""
    found = _AFTER.fullmatch(part.strip())
    for word in found[2].split(":") if found else ():
        job = _job(int(word.partition("+")[0]), client)
        if found and job is not None and job.is_final:
            if found[1] == "afterok" and job.state != "COMPLETED":
                yield f"job {job.job_id} ended {job.state}"
            if found[1] == "afternotok" and job.state == "COMPLETED":
                yield f"job {job.job_id} ended COMPLETED"


def _job(job_id: int, client: SlurmClient) -> JobInfo | None:
    try:
        return client.job(job_id)
    except NotFoundError:
        return None
