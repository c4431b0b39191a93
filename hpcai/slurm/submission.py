"""One job on its way into the queue: by however many calls of sbatch, never twice."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hpcai import shell
from hpcai.errors import HpcaiError, UnreachableError
from hpcai.slurm import parse
from hpcai.slurm.environment import for_submission, outside_a_job, script_text
from hpcai.slurm.failures import failure, never_arrived
from hpcai.slurm.marks import LISTING, Listed, is_same_script, listed, seconds
from hpcai.slurm.sbatch_lines import read_script

if TYPE_CHECKING:
    from hpcai.slurm.client import SlurmClient

LOG = logging.getLogger(__name__)

ATTEMPTS = 5
# What to say of a submission whose answer never came.
IN_DOUBT = {
    "allowed": "Slurm may have accepted the job all the same.",
    "next_step": "`squeue --me` tells once Slurm answers; submit again if the job is not there.",
}
_OWN_WORDS = re.compile(r"^sbatch: ", re.MULTILINE)
# slurmctld takes no longer comment.
_MOST_COMMENT = 1024
# Slurm's default MessageTimeout.
_SETTLE_S = 10.0
# The login node's clock and slurmctld's.
_CLOCKS_DIFFER_S = 60.0
# Slurm forgets an ended job within one of its own rounds after MinJobAge.
_FORGETS_WITHIN_S = 5.0


class SubmissionInDoubt(UnreachableError):
    """sbatch got no answer, and it could not be found out whether the job was accepted."""


class SubmissionCutOff(KeyboardInterrupt):
    """Ctrl-C while sbatch was asked; `job_id` is that of the job if it is in the queue already."""

    def __init__(self, job_id: int | None) -> None:
        super().__init__()
        self.job_id = job_id


@dataclass
class Submission:
    """One job that is to be in the queue once; `submit` may be called once."""

    client: SlurmClient
    script: Path | bytes
    args: tuple[str, ...]
    without: Collection[str]
    mark: str
    as_is: bool
    """Whether the script is the user's own. Ours is of this job alone: its path tells it as the mark does."""
    workdir: Path | None = None
    in_doubt: bool = False
    was_in_doubt: bool = False
    begun: float = field(default_factory=time.monotonic)
    begun_at: float = field(default_factory=time.time)

    def submit(self) -> int:
        """The job's id. Raises SlurmError, UnreachableError, SubmissionInDoubt."""
        attempt = 1
        while True:
            try:
                return self._attempt()
            except UnreachableError as error:
                if attempt == ATTEMPTS or isinstance(error, SubmissionInDoubt):
                    raise self._last_word(error) from error
                self.client.pause(error, attempt, ATTEMPTS)
                attempt += 1
            except KeyboardInterrupt as interrupt:
                raise SubmissionCutOff(self._id_after_interrupt()) from interrupt

    def _id_after_interrupt(self) -> int | None:
        with suppress(HpcaiError, KeyboardInterrupt):
            return min(self._ids(), default=None)
        return None

    def _last_word(self, error: UnreachableError) -> UnreachableError:
        if not self.in_doubt or isinstance(error, SubmissionInDoubt):
            return error
        return SubmissionInDoubt(f"sbatch got no answer: {error.what}", **IN_DOUBT)

    def _attempt(self) -> int:
        if self.in_doubt:
            # From an attempt after which Slurm did not answer either.
            accepted = self._accepted()
            if accepted is not None:
                return accepted
        try:
            return self._the_only(self._ask())
        except HpcaiError:
            accepted = self._accepted() if self.in_doubt else None
            if accepted is None:
                raise
            return accepted

    def _ask(self) -> int:
        """The id that sbatch tells. Raises UnreachableError, `in_doubt` if the job may be there."""
        file, stdin = ([], self.script) if isinstance(self.script, bytes) else ([str(self.script)], None)
        argv = ["sbatch", "--parsable", *self.args, f"--comment={self._comment()}", *file]
        try:
            done = self.client.run_sbatch(argv, self._environ(), stdin=stdin, workdir=self.workdir)
        except shell.NoRoomToStart:
            raise
        except shell.ProgramTimedOut as error:
            told = _told(error.printed)
            if told is not None:
                return told
            self._doubt()
            raise
        except KeyboardInterrupt:
            self._doubt()
            raise
        return self._id_in(done)

    def _id_in(self, done: shell.Completed) -> int:
        told = _told(done.stdout)
        if told is not None:
            for line in done.stderr.splitlines():
                # A warning, or what the site says to its users.
                LOG.warning("%s", line)
            return told
        if done.status == 0:
            self._doubt()
            raise UnreachableError(f"sbatch did not name the job: it printed {done.stdout!r}.")
        if done.status > 128 or (done.status > 0 and not done.stderr.strip()):
            # sbatch never refuses without a word: something has ended it.
            self._doubt()
            raise UnreachableError(f"sbatch ended with status {done.status} before it had an answer.")
        error = failure(done)
        is_unknown = isinstance(error, UnreachableError) and not never_arrived(done.stderr)
        if is_unknown or not _OWN_WORDS.search(done.stderr):
            # Also where a site's wrapper around sbatch has failed, perhaps behind sbatch.
            self._doubt()
        raise error

    def _doubt(self) -> None:
        self.in_doubt = self.was_in_doubt = True

    def _comment(self) -> str:
        """The author's comment with the mark behind it; alone where Slurm does not take both."""
        own = self._option("comment") or ""
        both = f"{own} {self.mark}" if own else self.mark
        return both if len(both.encode("utf-8", "surrogateescape")) < _MOST_COMMENT else own

    def _option(self, name: str) -> str | None:
        """The value of an option of the script's own."""
        return read_script(script_text(self.script)).value(name)

    def _environ(self) -> dict[str, str]:
        environ = self.client.environ
        given = outside_a_job(environ) if self.as_is else for_submission(environ, script_text(self.script))
        return {name: value for name, value in given.items() if name not in self.without}

    def _accepted(self) -> int | None:
        """The id of the job that may have been accepted; None when it certainly was not.

        Raises UnreachableError when Slurm does not answer, SubmissionInDoubt when no answer can tell.
        """
        try:
            self._require_one_cluster()
            found = self._look_until_settled()
            if not found and self._may_be_forgotten():
                found = self._ids_in_accounting()
        except UnreachableError:
            raise
        except HpcaiError as error:
            # Not that squeue refuses, but that sbatch may have accepted is what the caller must hear.
            raise SubmissionInDoubt(f"sbatch got no answer: {error.what}", **IN_DOUBT) from error
        self.in_doubt = False
        return self._the_only(min(found)) if found else None

    def _look_until_settled(self) -> set[int]:
        """The ids that Slurm knows, as soon as it knows any: what has arrived may still wait in slurmctld."""
        found = self._ids()
        deadline, pause_s = time.monotonic() + self._settle_s(), 0.1
        while not found and (left_s := deadline - time.monotonic()) > 0:
            time.sleep(min(pause_s, left_s))
            pause_s = min(2.0, pause_s * 1.5)
            found = self._ids()
        if not found:
            self._require_no_other()
        return found

    def _settle_s(self) -> float:
        """So long slurmctld may take to begin with a request whose sender has gone."""
        if self.client.settle_s is not None:
            return self.client.settle_s
        return seconds(self.client.config().get("MessageTimeout")) or _SETTLE_S

    def _ids(self) -> set[int]:
        return {job.job_id for job in self._jobs() if self._is_it(job)}

    def _jobs(self) -> list[Listed]:
        return listed(self.client.ask_once(LISTING))

    def _is_it(self, job: Listed) -> bool:
        is_ours = (
            not self.as_is and isinstance(self.script, Path) and is_same_script(job.command, self.script)
        )
        return is_ours or self.mark in job.comment

    def _require_no_other(self) -> None:
        """Raises SubmissionInDoubt where a job without a mark may be this one: a site may change comments."""
        if not self.as_is:
            return
        for job in self._jobs():
            is_same = (
                is_same_script(job.command, self.script) if isinstance(self.script, Path) else not job.command
            )
            if is_same and "hpcai:" not in job.comment and job.submitted > self.begun_at - _CLOCKS_DIFFER_S:
                raise SubmissionInDoubt(
                    f"sbatch got no answer, and job {job.job_id} of the same script may be this one.",
                    allowed="Its comment does not tell: it is too long, or the site changes comments.",
                    next_step=f"hpcai show {job.job_id}",
                )

    def _may_be_forgotten(self) -> bool:
        """Whether a job that was accepted may have ended so long ago that slurmctld has forgotten it."""
        age_s = seconds(self.client.config().get("MinJobAge"))
        # 0 is never.
        return age_s != 0 and time.monotonic() - self.begun > (age_s or 0) - _FORGETS_WITHIN_S

    def _ids_in_accounting(self) -> set[int]:
        # SubmitLine holds the mark where the site keeps no comments.
        what = ["--allocations", "--starttime=now-2days", "--format=JobID,Comment,SubmitLine"]
        try:
            text = self.client.ask_once(["sacct", "--noheader", "--parsable2", *what])
        except UnreachableError:
            raise
        except HpcaiError as error:
            raise SubmissionInDoubt(
                "sbatch got no answer, Slurm may have forgotten the job, and there is no accounting to ask.",
                **IN_DOUBT,
            ) from error
        # 12, of an array 12_3, of a heterogeneous job 12+0.
        found = (re.match(r"\d+", line) for line in text.splitlines() if self.mark in line)
        return {int(ident[0]) for ident in found if ident}

    def _require_one_cluster(self) -> None:
        """Raises SubmissionInDoubt where the job may be on another cluster than the one that is asked."""
        elsewhere = self.client.environ.get("SBATCH_CLUSTERS") or self._option("clusters")
        if elsewhere:
            raise SubmissionInDoubt(
                "sbatch got no answer.",
                allowed=f"The job may be on any of the clusters {elsewhere!r} all the same.",
                next_step=f"`squeue --me --clusters={elsewhere}` tells; submit again if it is not there.",
            )

    def _the_only(self, job_id: int) -> int:
        """The job that stays: one that an earlier call of sbatch brought too late is taken out again."""
        if not self.was_in_doubt:
            return job_id
        try:
            first, *others = sorted(self._ids() | {job_id})
            for other in others:
                LOG.warning("Job %d is cancelled: it is job %d, which came late, once more.", other, first)
                self.client.cancel(str(other))
        except HpcaiError as error:
            LOG.warning("Whether job %d is there twice could not be seen: %s", job_id, error.what)
            return job_id
        return first


def _told(stdout: str) -> int | None:
    try:
        return parse.job_id_of_sbatch(stdout)
    except ValueError:
        return None
