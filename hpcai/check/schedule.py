"""Whether this Slurm can submit a file again and again."""

from __future__ import annotations

from collections.abc import Iterator

from hpcai.check.findings import Finding
from hpcai.errors import HpcaiError
from hpcai.slurm import scrontab
from hpcai.slurm.client import SlurmClient


def check_schedule(schedule: str | None, client: SlurmClient | None) -> Iterator[Finding]:
    """What keeps the schedule of a file from being put; nothing where there is none, or no Slurm."""
    if schedule is None or client is None:
        return
    try:
        scrontab.read(client)
    except HpcaiError as error:
        fix = " ".join(part for part in (error.allowed, error.next_step) if part)
        yield Finding("schedule-impossible", "error", "schedule", error.what, fix or None)
