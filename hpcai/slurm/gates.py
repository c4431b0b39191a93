"""What a job asks for that this release of Slurm does not have. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hpcai.slurm.limits import Breach, in_part
from hpcai.specs.job import JobSpec
from hpcai.specs.slurm_fields import ComponentFields
from hpcai.specs.slurm_options import SlurmOption, Version, available, slurm_options


def gate_breaches(job: JobSpec, version: Version) -> Iterator[Breach]:
    """One for each field whose option sbatch of this release does not know."""
    if job.components:
        # What the job says for all its parts stands in each of them.
        each = [(number, list(gate_breaches(part, version))) for number, part in enumerate(job.parts)]
        for number, found in each:
            yield from (
                in_part(breach, number) if breach.key in ComponentFields.model_fields else breach
                for breach in found
                if number == 0 or breach.key in ComponentFields.model_fields
            )
        return
    for row in slurm_options().values():
        if row.field is None or available(row.option, version):
            continue
        given = getattr(job, row.field)
        if given is not None and given is not False:
            yield Breach(
                "option-not-here",
                row.field,
                f"{_named(version)} has no --{row.option}: {_when(row)}.",
                "Leave it out.",
            )
    if job.requeue == "expedite" and version < (25, 11):
        yield Breach(
            "option-not-here",
            "requeue",
            f"{_named(version)} has no --requeue=expedite.",
            "Set requeue to true.",
        )


def _named(version: Version) -> str:
    return f"Slurm {version[0]}.{version[1]:02d}"


def _when(row: SlurmOption) -> str:
    if row.since is not None:
        return f"it came with {_named(row.since)}"
    assert row.until is not None
    return f"it went after {_named(row.until)}"
