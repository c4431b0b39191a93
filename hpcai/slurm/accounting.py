"""What Slurm's accounting is asked: jobs that slurmctld has forgotten, accounts, and their limits."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

from hpcai import shell
from hpcai.errors import NotFoundError, ToolError, UnreachableError
from hpcai.slurm import bounds, parse, sacct
from hpcai.slurm.answers import Association, JobInfo
from hpcai.slurm.bounds import Bound
from hpcai.slurm.failures import ASK_WHETHER_IT_ANSWERS, AccountingUnreachable
from hpcai.specs.slurm_options import Version

T = TypeVar("T")
# sacct itself waits 40 s and more for a slurmdbd that hangs.
ACCOUNTING_TIMEOUT_S = 10.0


class Accounting(ABC):
    """The questions of a client that slurmdbd answers, which may be away while slurmctld is not."""

    @abstractmethod
    def ask_within(self, limit_s: float, argv: Sequence[str], parse_text: Callable[[str], T]) -> T:
        """What one of Slurm's commands prints, as a value."""

    @abstractmethod
    def version(self) -> Version:
        """Year and month of the release of Slurm's commands here."""

    def forgotten(self, ident: str, is_it: Callable[[JobInfo], bool] = lambda _: True) -> list[JobInfo]:
        """The tasks of a job that slurmctld has forgotten, as accounting keeps them.

        Of jobs that had this number one after the other, the last that `is_it`. Raises NotFoundError when
        accounting does not tell how it ended, AccountingUnreachable when slurmdbd does not answer.
        """
        try:
            kept = of_ident([job for job in self.kept([ident]) if is_it(job)], ident)
        except ToolError as error:
            raise _unknown(f"Slurm knows no job {ident}; an ended job it forgets after a while.") from error
        if not kept:
            raise _unknown(f"Slurm knows no job {ident}, and its accounting keeps none.")
        submission = sacct.submission_of(kept[-1])
        tasks = [job for job in kept if sacct.submission_of(job) == submission]
        going_on = [job for job in tasks if not job.is_final]
        if going_on:
            raise _unknown(
                f"Slurm has forgotten job {ident}, and its accounting was not told of its end: "
                f"{going_on[0].state}."
            )
        return tasks

    def kept(self, idents: Iterable[str]) -> list[JobInfo]:
        """What accounting keeps of jobs, in one query, by their submission.

        Raises NoAccounting where there is none, AccountingUnreachable when slurmdbd does not answer soon.
        """
        return self._of_accounting(
            sacct.argv(idents, self.version()),
            lambda text: sacct.jobs(text, self.version()),
        )

    def canceller(self, ident: str) -> str | None:
        """The number of the user who cancelled a job; None where accounting does not tell.

        Raises SlurmError where there is no accounting.
        """
        argv = [
            "sacct",
            "--noheader",
            "--parsable2",
            "--allocations",
            f"--jobs={ident}",
            "--format=JobID,State",
        ]
        return self._of_accounting(argv, lambda text: sacct.canceller(text, ident))

    def associations(self, user: str) -> list[Association]:
        """What accounting lets this user run under. Raises SlurmError where there is no accounting."""
        argv = ["sacctmgr", "--noheader", "--parsable2", "--readonly", "show", "associations"]
        wanted = [f"user={user}", f"format={parse.ASSOCIATION_FORMAT}"]
        return self._of_accounting([*argv, *wanted], parse.associations_of_sacctmgr)

    def bound(self, job: JobInfo) -> Bound | None:
        """The limit of a QOS or an association for which a job waits, None where its reason names none.

        Raises as `associations`.
        """
        found = self._bound_by(job, job.told.get("QOS"))
        if found is None and job.partition and bounds.is_of_qos(job.reason or ""):
            # A partition may have a QOS of its own.
            found = self._bound_by(job, self._qos_of(job.partition))
        if found is None:
            return None
        with suppress(ToolError, UnreachableError):
            return self.ask_within(
                ACCOUNTING_TIMEOUT_S,
                bounds.usage_argv(found),
                lambda text: bounds.with_usage(found, job.user, text),
            )
        return found

    def _bound_by(self, job: JobInfo, qos: str | None) -> Bound | None:
        reason, account = job.reason or "", job.told.get("Account")
        return bounds.bound_of(reason, account, job.user, parse.nothing(qos or ""), self._of_accounting)

    def _qos_of(self, partition: str) -> str | None:
        argv = ["scontrol", "show", "partition", partition]
        told = self.ask_within(
            ACCOUNTING_TIMEOUT_S, argv, lambda text: parse.settings_of_scontrol(text, "PartitionName")
        )
        return told[0].get("QoS") if told else None

    def _of_accounting(self, argv: Sequence[str], parse_text: Callable[[str], T]) -> T:
        """What slurmdbd answers: it has a deadline of its own, because slurmctld may do without it."""
        try:
            return self.ask_within(ACCOUNTING_TIMEOUT_S, argv, parse_text)
        except shell.ProgramTimedOut as error:
            raise AccountingUnreachable(
                f"slurmdbd does not answer: {error.what}", next_step=ASK_WHETHER_IT_ANSWERS
            ) from error


def _unknown(what: str) -> NotFoundError:
    return NotFoundError(what, next_step="`hpcai queue` lists your jobs.")


def of_ident(told: Sequence[JobInfo], ident: str) -> list[JobInfo]:
    """Those that an id means: Slurm answers some that are none, such as 0, with every job that there is."""
    found = [job for job in told if ident in (str(job.job_id), str(job.array_job_id), job.ident)]
    return found or [dataclasses.replace(job, array_task_id=task) for job, task in _one_of_many(told, ident)]


def _one_of_many(jobs: Iterable[JobInfo], ident: str) -> Iterator[tuple[JobInfo, str]]:
    """A task that still stands among others that wait, and its number."""
    array, _, task = ident.partition("_")
    for job in jobs:
        if task.isdecimal() and str(job.array_job_id) == array and int(task) in job.array_task_ids:
            yield job, task
