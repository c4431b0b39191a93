"""What Slurm says, as values: jobs, nodes, partitions. Instants are UTC seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpcai.units import parse_array, parse_hostlist

# After these a job never runs again under this id.
FINAL_STATES = frozenset(
    (
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "LAUNCH_FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "RECONFIG_FAIL",
        "REVOKED",
        "TIMEOUT",
    )
)


def is_final(state: str) -> bool:
    """Whether a job in this state has ended for good."""
    return state in FINAL_STATES


@dataclass(frozen=True)
class JobInfo:
    """What Slurm says of one job. Instants are UTC seconds; None is what Slurm does not say."""

    job_id: int
    name: str
    state: str
    user: str = ""
    partition: str = ""
    reason: str | None = None
    array_job_id: int | None = None
    array_task_id: str | None = None
    restarts: int = 0
    requeue: bool | None = None
    # These, and stderr, only `scontrol show job` tells: None in a list of many jobs.
    exit_status: int | None = None
    signal: int | None = None
    submit_time: float | None = None
    start_time: float | None = None
    end_time: float | None = None
    time_limit_s: int | None = None
    nodes: int | None = None
    node_list: str | None = None
    command: str | None = None
    workdir: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    comment: str | None = None
    dependency: str | None = None
    told: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Everything that `scontrol show job` says of it, by Slurm's own names; empty in a list of many jobs."""
    is_forgotten: bool = False
    """Whether slurmctld has forgotten it: this is what Slurm's accounting keeps."""

    @property
    def is_final(self) -> bool:
        return is_final(self.state)

    @property
    def ident(self) -> str:
        """The id as Slurm's commands take it: 12; of an array's tasks 12_3, or 12_[3-5] while they wait."""
        if self.array_job_id is None or self.array_task_id is None:
            return str(self.job_id)
        if not self.array_task_id.isdecimal():
            return f"{self.array_job_id}_[{self.array_task_id.partition('%')[0]}]"
        return f"{self.array_job_id}_{self.array_task_id}"

    @property
    def array_task_ids(self) -> tuple[int, ...]:
        """The tasks of an array that this is: one, or several that wait, or ended, together."""
        try:
            return tuple(parse_array(self.array_task_id)[0]) if self.array_task_id else ()
        except ValueError:
            return ()

    def is_of(self, script: Path) -> bool:
        """Whether it runs this script, by whatever path: a link and an automount lead to the same file."""
        if self.command is None:
            return False
        try:
            return Path(self.command).samefile(script)
        except OSError:
            return self.command == str(script)

    def elapsed_s(self, now: float) -> float:
        """How long it has run, 0 before its start."""
        if self.start_time is None or self.start_time > now:
            return 0.0
        end = self.end_time if self.is_final and self.end_time is not None else now
        return max(0.0, end - self.start_time)


@dataclass(frozen=True)
class NodeInfo:
    """What Slurm says of one node."""

    name: str
    state: str
    # DRAIN, NOT_RESPONDING, POWERED_DOWN and their like.
    flags: frozenset[str] = frozenset()
    cpus: int = 0
    memory_mib: int = 0
    gpus: int = 0
    features: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    reason: str | None = None
    hostname: str | None = None

    @property
    def is_down(self) -> bool:
        return self.state == "DOWN" or "NOT_RESPONDING" in self.flags


@dataclass(frozen=True)
class NodeGroup:
    """Nodes of a partition that are in the same state, as sinfo says it: `idle~`, `down*`, `drained`."""

    count: int
    state: str
    reason: str | None
    node_list: str

    @property
    def is_away(self) -> bool:
        """Whether no job starts there until somebody, or Slurm, has brought them back."""
        return (
            self.state.startswith(("down", "drain", "fail", "maint", "error", "unknown")) or "*" in self.state
        )


@dataclass(frozen=True)
class PartitionInfo:
    """What Slurm says of one partition. None is no limit."""

    name: str
    is_default: bool = False
    state: str = "UP"
    node_list: str = ""
    total_nodes: int = 0
    min_nodes: int = 0
    max_nodes: int | None = None
    max_time_s: int | None = None
    default_time_s: int | None = None
    max_cpus_per_node: int | None = None

    @property
    def node_names(self) -> list[str]:
        return parse_hostlist(self.node_list)


@dataclass(frozen=True)
class ExpectedStart:
    """When Slurm expects that a job would start, if it were submitted now."""

    start_time: float
    node_list: str
    partition: str


@dataclass(frozen=True)
class Association:
    """Under what a user may run jobs; `partition` None is any."""

    account: str
    partition: str | None
    qos: tuple[str, ...]
    default_qos: str | None
