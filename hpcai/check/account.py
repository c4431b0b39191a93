"""Account and QOS of a job, held against what accounting lets the user run under."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hpcai.check.findings import Finding, Severity
from hpcai.check.told import Told
from hpcai.errors import did_you_mean
from hpcai.slurm.answers import Association
from hpcai.specs.job import JobSpec


def check_account(job: JobSpec, told: Told) -> Iterator[Finding]:
    """Findings for a job that names an account or a QOS, and for a user who may use none."""
    asked = [key for key in ("account", "qos") if getattr(job, key) is not None]
    if told.associations is None:
        for key in asked:
            yield Finding(
                "account-unseen", "note", key, _why_unseen(told), "sbatch --test-only tells some of it."
            )
        return
    # Without this Slurm takes any name.
    enforced = (told.config or {}).get("AccountingStorageEnforce", "")
    severity: Severity = "error" if "associations" in enforced else "warning"
    accounts = list(dict.fromkeys(one.account for one in told.associations))
    mine = [one for one in told.associations if job.account in (None, one.account)]
    if not mine:
        listed = ", ".join(accounts) or "none"
        what = f"You have no account {job.account!r}; yours are: {listed}."
        fix = did_you_mean(str(job.account), accounts) or "Name one of them, or ask who runs this Slurm."
        yield Finding("account-unknown", severity, "account", what, fix)
        return
    names = job.partition.split(",") if job.partition else []
    there = [one for one in mine if one.partition is None or not names or one.partition in names]
    if not there:
        what = f"Account {job.account or accounts[0]!r} is yours only in {_listed(mine, 'partition')}."
        yield Finding(
            "account-not-in-partition", severity, "partition", what, "Name one of these partitions."
        )
        return
    known = {qos for one in there for qos in one.qos}
    # No QOS at all is how accounting says that none is asked for.
    if job.qos is not None and known and job.qos not in known:
        what = f"You may not use the QOS {job.qos!r}; yours are: {', '.join(sorted(known))}."
        fix = did_you_mean(job.qos, known) or "Name one of them, or leave qos out."
        yield Finding("qos-unknown", "error" if "qos" in enforced else "warning", "qos", what, fix)


def _why_unseen(told: Told) -> str:
    if (told.config or {}).get("AccountingStorageType", "").endswith("/none"):
        return "This Slurm keeps no accounts: whether it is right nobody can tell, and Slurm takes it."
    error = told.errors.get("associations")
    return f"Whether it is yours is not known: {error.what if error else 'nobody was asked.'}"


def _listed(associations: Sequence[Association], key: str) -> str:
    return ", ".join(dict.fromkeys(str(getattr(one, key)) for one in associations))
