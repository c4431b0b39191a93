"""Slurm through its own commands. The only module that calls them."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import os
import random
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from hpcai import shell
from hpcai.entry import looked_at
from hpcai.errors import NotFoundError, SlurmError, UnreachableError
from hpcai.slurm import parse
from hpcai.slurm.accounting import Accounting, of_ident
from hpcai.slurm.answers import (
    ExpectedStart,
    JobInfo,
    NodeGroup,
    NodeInfo,
    PartitionInfo,
)
from hpcai.slurm.environment import for_submission, outside_a_job, script_text
from hpcai.slurm.failures import NO_CONFIG, failure
from hpcai.slurm.plugstack import pyxis_version
from hpcai.slurm.shared import SharedAnswer
from hpcai.specs.slurm_options import slurm_version

LOG = logging.getLogger(__name__)
T = TypeVar("T")

# Slurm's own commands wait MessageTimeout (10 s, up to 100 s on big sites), `scontrol` twice.
TIMEOUT_S = 120.0
ATTEMPTS = 2
PAUSE_S = 1.0

_SQUEUE = ("squeue", "--noheader", f"--Format={parse.JOB_FORMAT}")
_MINE = (*_SQUEUE, "--states=all", "--me")


class SlurmClient(Accounting):
    """Slurm as the user of this process sees it; `environ` tells where it is (PATH, SLURM_CONF).

    Every method raises UnreachableError when slurmctld does not answer, after the retries that are
    logged; SlurmError, with Slurm's own words, when it refuses; ProgramMissing without Slurm's commands.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause_s: float = PAUSE_S,
        timeout_s: float = TIMEOUT_S,
        settle_s: float | None = None,
    ) -> None:
        self.environ = dict(os.environ if environ is None else environ)
        self._attempts = attempts
        self._pause_s = pause_s
        self._timeout_s = timeout_s
        self.settle_s = settle_s

    def submit(
        self,
        script: Path | bytes,
        *,
        args: Sequence[str] = (),
        without: Collection[str] = (),
        mark: str | None = None,
        as_is: bool = False,
        workdir: Path | None = None,
    ) -> int:
        """The id of the job that now waits in the queue.

        Slurm keeps the environment of a submission for the job: `without` are variables that it must not get.
        A script without a file is its bytes, which sbatch reads from its stdin. One of the user's own goes
        there `as_is`: SBATCH_* variables change it as sbatch would have it, and its path may be of many jobs.
        sbatch works in `workdir`, and so does the job unless it says otherwise.

        A job is never submitted twice: it bears `mark` (default: a new one) in its comment, behind the
        author's own, and when sbatch got no answer, Slurm is asked for a job with that mark before sbatch
        is asked again; also for a job of this script, whose path is of one job alone.
        Raises SubmissionInDoubt when it cannot be found out whether there is a job.
        """
        from hpcai.slurm.marks import new_mark
        from hpcai.slurm.submission import Submission

        mark = mark or new_mark()
        try:
            return Submission(self, script, tuple(args), without, mark, as_is, workdir).submit()
        finally:
            self._shared.forget()

    def test_only(self, script: Path, *, args: Sequence[str] = (), as_is: bool = False) -> ExpectedStart:
        """When the job would start; nothing is submitted, `as_is` like there.

        Raises SlurmError when it never would.
        """
        argv = ["sbatch", "--test-only", *args, str(script)]
        text = script_text(script)
        environ = outside_a_job(self.environ) if as_is else for_submission(self.environ, text)
        done = self._with_retries(lambda: self._run(argv, env=environ))
        try:
            return parse.expected_start(done.stderr)
        except ValueError as error:
            raise SlurmError(
                f"sbatch --test-only printed no expected start: {done.stderr.strip()!r}."
            ) from error

    def job(self, ident: int | str) -> JobInfo:
        """All that Slurm knows of a job, also for a while (MinJobAge) after its end.

        `ident` is a job id, 12_3 for a task of an array, or 12_[4-9] for all its tasks that wait. An array
        goes on while a task of it does: under its id stands what the task says that tells most, one that
        runs, else one that waits, else one that did not complete.
        Raises NotFoundError when there is no such job.
        """
        ident = str(ident)
        return most_telling(self.tasks(ident), ident)

    def tasks(self, ident: int | str, is_it: Callable[[JobInfo], bool] = lambda _: True) -> list[JobInfo]:
        """All that Slurm knows of a job, task by task of an array; those that wait stand in one together.

        What slurmctld has forgotten comes from accounting, where there is any; `is_it` tells the job from
        others that have had its number. Raises NotFoundError when there is no such job,
        AccountingUnreachable when slurmctld has forgotten it and slurmdbd does not answer.
        """
        ident = str(ident)
        try:
            # scontrol does not take all forms in which Slurm itself names the tasks that wait.
            asked = ident.partition("_[")[0]
            told = self._read(["scontrol", "show", "job", asked], parse.jobs_of_scontrol)
        except NotFoundError:
            told = []
        found = of_ident(told, ident)
        if found and is_it(found[0]):
            return found
        return self.forgotten(ident, is_it)

    def jobs(self, ids: Iterable[int] | None = None, *, ended: bool = True) -> list[JobInfo]:
        """This user's jobs, or those of `ids`, in one query; jobs that Slurm does not know are left out."""
        wanted = None if ids is None else sorted(set(ids))
        if wanted == []:
            return []
        which = "--me" if wanted is None else f"--jobs={','.join(map(str, wanted))}"
        states = ["--states=all"] if ended else []
        try:
            return self._read([*_SQUEUE, *states, which], parse.jobs_of_squeue)
        except NotFoundError:
            return []

    def cancel(self, ident: str) -> None:
        """Ask Slurm to end a job, a whole array, or a task of one; it ends soon after."""
        self._with_retries(lambda: self._run(["scancel", ident]))
        self._shared.forget()

    def requeue(self, ident: str) -> None:
        """Ask Slurm to put a job back into the queue under its own number.

        Without retry: it may run again by then. Raises SlurmError, with Slurm's own words, when it refuses.
        """
        self._run(["scontrol", "requeue", ident])
        self._shared.forget()

    def partitions(self) -> list[PartitionInfo]:
        """The partitions that this user may see."""
        return self._read(["scontrol", "show", "partition"], parse.partitions_of_scontrol)

    def nodes(self, names: str | None = None) -> list[NodeInfo]:
        """All nodes, or those of a host list."""
        argv = ["scontrol", "show", "node", *([names] if names else [])]
        return self._read(argv, parse.nodes_of_scontrol)

    def node_groups(self, partition: str) -> list[NodeGroup]:
        """The nodes of a partition by their state."""
        argv = ["sinfo", "--noheader", f"--partition={partition}", f"--format={parse.GROUP_FORMAT}"]
        return self._read(argv, parse.groups_of_sinfo)

    def reservation(self, name: str) -> dict[str, str]:
        """What Slurm says of a reservation, by its own names. Raises SlurmError when there is none."""
        argv = ["scontrol", "show", "reservation", name]
        found = self._read(argv, lambda text: parse.settings_of_scontrol(text, "ReservationName"))
        return found[0] if found else {}

    def config(self) -> dict[str, str]:
        """slurmctld's settings by name."""
        return self._read(["scontrol", "show", "config"], parse.config_of_scontrol)

    @functools.cached_property
    def _version(self) -> tuple[int, int]:
        return slurm_version(self._run(["sinfo", "--version"]).stdout)

    def version(self) -> tuple[int, int]:
        """Year and month of the release of Slurm's commands here."""
        return self._version

    @functools.cached_property
    def _mpi_plugins(self) -> frozenset[str]:
        done = self._run(["srun", "--mpi=list"])
        try:
            return parse.mpi_plugins(done.stdout + done.stderr)
        except ValueError as error:
            raise SlurmError(f"What srun --mpi=list printed cannot be read: {error}.") from error

    def mpi_plugins(self) -> frozenset[str]:
        """What srun's --mpi takes here: pmix among them where ranks of MPI can find each other."""
        return self._mpi_plugins

    @functools.cached_property
    def _srun_help(self) -> str:
        return self._run(["srun", "--help"]).stdout

    def has_pyxis(self) -> bool:
        """Whether srun here takes Pyxis's options, so that a job's tasks can run in a container."""
        # Options of SPANK plugins stand in srun's help; `--container` alone is Slurm's own.
        return "--container-image" in self._srun_help

    def pyxis_release(self) -> str | None:
        """The release of Pyxis in its plugin's own words, else as far as srun's options tell it; or None."""
        if not self.has_pyxis():
            return None
        said = pyxis_version(self.environ)
        if said is not None:
            return said
        if "--container-unshare" in self._srun_help:
            return "0.24"
        return None if "--container-entrypoint-log" in self._srun_help else "0.19"

    def sbatch_has_pyxis(self) -> bool:
        """Whether sbatch takes them too: an administrator may have switched that off."""
        return "--container-image" in self._run(["sbatch", "--help"]).stdout

    def run_on(self, node: str, script: str, *, partition: str, within_s: float) -> str:
        """What a shell script prints on a node, as a step of a job of its own that ends with it.

        Raises SlurmError, also when the node is not free at once.
        """
        wanted = [f"--nodelist={node}", f"--partition={partition}", "--nodes=1", "--ntasks=1", "--time=2"]
        argv = ["srun", *wanted, f"--immediate={max(1, int(within_s / 2))}", "--quiet", "bash", "-c", script]
        return self.within(within_s)._run(argv, env=for_submission(self.environ)).stdout

    def within(self, timeout_s: float) -> SlurmClient:
        """The same Slurm, asked once, and given up on after so many seconds."""
        return SlurmClient(self.environ, attempts=1, timeout_s=timeout_s)

    def run_sbatch(
        self, argv: Sequence[str], environ: Mapping[str, str], *, stdin: bytes | None, workdir: Path | None
    ) -> shell.Completed:
        """One call of sbatch in this environment, however it ended, without retry."""
        self._require_config()
        with _slurm_is_here(argv[0]):
            return shell.run_alone(argv, timeout_s=self._timeout_s, env=environ, cwd=workdir, stdin=stdin)

    def ask_within(self, limit_s: float, argv: Sequence[str], parse_text: Callable[[str], T]) -> T:
        """What one of Slurm's commands prints that only asks, within so many seconds; without retry."""
        return self.within(min(limit_s, self._timeout_s))._read(argv, parse_text)

    def ask_once(self, argv: Sequence[str]) -> str:
        """What one of Slurm's commands prints that only asks; without retry."""
        return self._run(argv).stdout

    def my_jobs(self, *, since: float, only: str | None = None) -> tuple[float, list[JobInfo]]:
        """When squeue was asked, at `since` (UTC s) or later, and this user's jobs, the ended ones too.

        All commands of this user share one answer. `only`: one job, or all tasks of one array.
        """
        told = self._shared.told(lambda: self._with_retries(lambda: self._run(_MINE)).stdout, since=since)
        return told.asked, self._parsed(_MINE, told.text, lambda text: parse.jobs_of_squeue(text, only=only))

    @functools.cached_property
    def _shared(self) -> SharedAnswer:
        return SharedAnswer(self.environ, " ".join(_MINE))

    def _read(self, argv: Sequence[str], parse_text: Callable[[str], T]) -> T:
        return self._parsed(argv, self._with_retries(lambda: self._run(argv)).stdout, parse_text)

    def _parsed(self, argv: Sequence[str], text: str, parse_text: Callable[[str], T]) -> T:
        try:
            return parse_text(text)
        except (ValueError, KeyError) as error:
            raise SlurmError(
                f"What {' '.join(argv[:3])} printed cannot be read: {error}.",
                next_step="Please report it with that command's output and that of `sinfo --version`.",
            ) from error

    def _with_retries(self, call: Callable[[], T]) -> T:
        for attempt in range(1, self._attempts):
            try:
                return call()
            except UnreachableError as error:
                self.pause(error, attempt, self._attempts)
        return call()

    def pause(self, error: UnreachableError, attempt: int, attempts: int) -> None:
        """Waits before the next of several attempts, longer each time, and tells why."""
        pause_s = self._pause_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
        LOG.warning("%s Asking again in %.1f s (%d of %d).", error.what, pause_s, attempt + 1, attempts)
        time.sleep(pause_s)

    def _require_config(self) -> None:
        """Raises SlurmError where SLURM_CONF leads nowhere: its commands would wait there for a minute."""
        file = self.environ.get("SLURM_CONF")
        if file:
            found = looked_at(Path(file))
            if not found.is_there and not found.refused:
                raise SlurmError(f"SLURM_CONF is {file!r}, and no file is there.", next_step=NO_CONFIG)

    def _run(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> shell.Completed:
        self._require_config()
        with _slurm_is_here(argv[0]):
            done = shell.run(argv, timeout_s=self._timeout_s, env=env or self._query_environ(), check=False)
        if done.status != 0:
            raise failure(done)
        return done

    def _query_environ(self) -> dict[str, str]:
        # Instants in UTC, in the one form that parse reads; no defaults of the user's own commands.
        kept = {
            name: value for name, value in self.environ.items() if not re.match("(SQUEUE|SINFO|SACCT)_", name)
        }
        # And a list of an array's waiting tasks to its end, which Slurm cuts at 64 characters.
        plain = {"SLURM_TIME_FORMAT": "standard", "SLURM_BITSTR_LEN": "0"}
        return {**kept, **plain, "TZ": "UTC", "LC_ALL": "C.UTF-8"}


@contextmanager
def _slurm_is_here(program: str) -> Iterator[None]:
    try:
        yield
    except shell.ProgramMissing as error:
        raise shell.ProgramMissing(
            f"{program!r} is not on PATH: this machine has no Slurm.",
            next_step="Go to the cluster's login node; `hpcai local up` starts a Slurm here.",
        ) from error


def most_telling(tasks: Iterable[JobInfo], ident: str) -> JobInfo:
    """Of several tasks the one that tells most of them all, under the array's own id."""
    # One that runs before one that waits; of those that have not completed, the first to end.
    tells_little = ("PENDING", "COMPLETED")
    most = min(tasks, key=lambda job: (job.is_final, job.state in tells_little, job.end_time or math.inf))
    if str(most.array_job_id) == ident:
        return dataclasses.replace(most, job_id=int(ident), array_task_id=None)
    return most
