"""What is known of a job when its story is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hpcai.cyclecloud.published import Published
from hpcai.runs.attempts import RunAttempt
from hpcai.runs.tails import End
from hpcai.slurm.answers import JobInfo, NodeGroup, NodeInfo, PartitionInfo
from hpcai.slurm.bounds import Bound


@dataclass(frozen=True)
class Log:
    """The end of one log."""

    end: End
    rank: int | None
    """Whose it is; None for the batch part's, and for a job whose ranks share one."""

    @property
    def is_errors(self) -> bool:
        return self.end.path.suffix == ".err"


@dataclass(frozen=True)
class Evidence:
    """One piece of what is known, and where it stands."""

    where: str
    what: str


@dataclass(frozen=True)
class Facts:
    """All that was found out; what is empty is not known."""

    name: str
    """What a sentence begins with: the run's name, or `Job 12`."""
    ident: str
    """What to type for it."""
    state: str
    """Slurm's word; of a run without a job that which its record tells."""
    now: float
    job: JobInfo | None = None
    exit_status: int | None = None
    signal: int | None = None
    cause: str | None = None
    """The end cause in the record, which knows of evictions and requeues."""
    has_record: bool = False
    is_bare: bool = False
    """Whether its record is of a script of the user's own, whose output Slurm alone places."""
    is_local: bool = False
    """Whether it is processes of the machine that submitted it, not a job."""
    attempts: Sequence[RunAttempt] = ()
    asked_to_cancel: float | None = None
    """When `hpcai cancel` was typed for it."""
    canceller: str | None = None
    logs: Sequence[Log] = ()
    silent_logs: Sequence[str] = ()
    """Output files that are not there or cannot be read."""
    nodes: Sequence[NodeInfo] = ()
    """Those that it has or had, or that it names and cannot get."""
    groups: Sequence[NodeGroup] = ()
    """Those of its partition."""
    partition: PartitionInfo | None = None
    dependencies: Sequence[JobInfo] = ()
    reservation: Mapping[str, str] = field(default_factory=dict)
    bound: Bound | None = None
    """The limit of a QOS or an account that it waits for."""
    published: Published | None = None
    unpublished: str | None = None
    """Why the cluster status that is configured could not be read."""
    unasked: Sequence[str] = ()
    """What could not be found out, each as a sentence."""
    again: str | None = None
    """The command that submits it once more."""

    @property
    def keeps_logs(self) -> bool:
        """Whether its record keeps the logs of each rank and of the batch part."""
        return self.has_record and not self.is_bare

    @property
    def stands(self) -> Literal["waiting", "running", "failed", "time_limit", "completed", "other"]:
        """How it stands, as far as logs can tell of it."""
        if self.state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "CONFIGURING"):
            return "waiting"
        if self.state in ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED"):
            return "running"
        if self.state in ("FAILED", "OUT_OF_MEMORY", "LAUNCH_FAILED"):
            return "failed"
        if self.state == "TIMEOUT":
            return "time_limit"
        return "completed" if self.state == "COMPLETED" else "other"


@dataclass(frozen=True)
class Answer:
    """Why, in one sentence; what it is known from; what to do."""

    case: str
    sentence: str
    evidence: Sequence[Evidence] = ()
    next: Sequence[str] = ()
