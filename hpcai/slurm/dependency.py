"""What becomes of a job that waits for others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from hpcai.errors import NotFoundError
from hpcai.slurm.limits import Breach

if TYPE_CHECKING:
    from hpcai.slurm.answers import JobInfo
    from hpcai.slurm.client import SlurmClient
    from hpcai.specs.slurm_options import Version

_AFTER = re.compile(r"(afterok|afternotok):(\d+(?:\+\d+)?(?::\d+(?:\+\d+)?)*)")
# From this release on sbatch refuses to wait for the status of a job that Slurm does not know.
_REFUSES_UNKNOWN = (23, 2)
# Job ids of a federation begin here; another cluster may know the job.
_FEDERATED = 2**26
_Look = Callable[[int], "JobInfo | None"]


def dependency_breach(dependency: str | None, client: SlurmClient) -> Breach | None:
    """The jobs whose end already keeps this one from ever starting; None when it may start.

    `dependency` as sbatch takes it: with `,` all of it must come true, with `?` any of it. Of a job that
    Slurm has forgotten nothing is known.
    """
    return _never(dependency or "", _looking(client))


def dependency_breaches(
    dependency: str | None, client: SlurmClient, version: Version | None
) -> Iterator[Breach]:
    """The same, and jobs that this release of Slurm does not know, or has forgotten."""
    look = _looking(client)
    never = _never(dependency or "", look)
    if never is not None:
        yield never
    words = [word for part in re.split(r"[,?]", dependency or "") for _, word in _jobs_of(part)]
    unknown = [word for word in dict.fromkeys(words) if word < _FEDERATED and look(word) is None]
    if unknown:
        named = f"job {unknown[0]}" if len(unknown) == 1 else f"jobs {', '.join(map(str, unknown))}"
        is_refused = version is not None and version >= _REFUSES_UNKNOWN
        then = "sbatch refuses to wait for" if is_refused else "the job would start without waiting for"
        what = f"Slurm knows no {named}, or has forgotten it: {then} its status."
        fix = "Correct or leave out dependency; `hpcai queue` lists your jobs."
        yield Breach("dependency-unknown", "dependency", what, fix, is_certain=is_refused)


def _never(dependency: str, look: _Look) -> Breach | None:
    parts = re.split(r"[,?]", dependency)
    broken = [list(_broken(part, look)) for part in parts]
    if not (all if "?" in dependency else any)(broken):
        return None
    what = ", ".join(each for one in broken for each in one)
    return Breach(
        "dependency-never",
        "dependency",
        f"`{dependency}` cannot come true: {what}.",
        "Correct or leave out dependency.",
    )


def _jobs_of(part: str) -> Iterator[tuple[str, int]]:
    """The jobs whose status one part of a dependency waits for, each with how it must end."""
    found = _AFTER.fullmatch(part.strip())
    for word in found[2].split(":") if found else ():
        yield found[1] if found else "", int(word.partition("+")[0])


def _broken(part: str, look: _Look) -> Iterator[str]:
    """Why one part of a dependency cannot come true."""
    for how, ident in _jobs_of(part):
        job = look(ident)
        if job is not None and job.is_final:
            if how == "afterok" and job.state != "COMPLETED":
                yield f"job {job.job_id} ended {job.state}"
            if how == "afternotok" and job.state == "COMPLETED":
                yield f"job {job.job_id} ended COMPLETED"


def _looking(client: SlurmClient) -> _Look:
    """What Slurm says of a job, asked once; None of one that it does not know."""

    @cache
    def look(ident: int) -> JobInfo | None:
        try:
            return client.job(ident)
        except NotFoundError:
            return None

    return look
