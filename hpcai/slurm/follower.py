"""Slurm for what follows jobs: asked once for all of a user's jobs, and of one job only when it has ended."""

from __future__ import annotations

import time
from collections.abc import Mapping

from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.shared import MAX_AGE_S


class FollowingClient(SlurmClient):
    """A client whose `tasks` of a job that goes on come from an answer for all of the user's commands."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        # Asking again is what following does anyway.
        super().__init__(environ, attempts=1)
        # Who begins to follow wants to know how it stands now.
        self._not_before = time.time()
        self.max_age_s = MAX_AGE_S
        """How old an answer may be."""
        self._ended: dict[str, JobInfo] = {}

    def expect_news(self) -> None:
        """What was told before now does not count any more."""
        self._not_before = time.time()

    def tasks(self, ident: int | str) -> list[JobInfo]:
        """As SlurmClient.tasks; an answer may be some seconds old."""
        ident = str(ident)
        since = max(self._not_before, time.time() - self.max_age_s)
        jobs = [] if "_" in ident else self.my_jobs(since=since, only=ident)[1]
        # Only the full answer tells how a task ended, and of one task alone and of other users' jobs.
        if not jobs or any(job.is_final and job.ident not in self._ended for job in jobs):
            jobs = super().tasks(ident)
            self._ended = {job.ident: job for job in jobs if job.is_final}
        return [self._ended.get(job.ident, job) for job in jobs]
