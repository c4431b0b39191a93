"""What Slurm tells within a deadline, all asked at once; what it did not tell is named."""

from __future__ import annotations

import getpass
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpcai.errors import HpcaiError, UnreachableError
from hpcai.slurm.answers import Association, NodeInfo, PartitionInfo
from hpcai.slurm.client import SlurmClient
from hpcai.specs.slurm_options import Version

# With what comes before and after it, a check of a job ends within 3 s.
DEADLINE_S = 2.0
# Of the deadline: the rest is for sbatch --test-only.
_FOR_FACTS = 0.65
# Answers -> what a person calls them.
NAMES = {
    "partitions": "partitions",
    "nodes": "nodes",
    "config": "the settings of slurmctld",
    "version": "the release of Slurm",
    "mpi_plugins": "srun --mpi=list",
    "srun_takes_containers": "srun --help",
    "sbatch_takes_containers": "sbatch --help",
    "associations": "accounts and QOS",
}


@dataclass(frozen=True)
class Told:
    """Answers of Slurm; None is what it has not told."""

    partitions: Sequence[PartitionInfo] | None = None
    nodes: Sequence[NodeInfo] | None = None
    config: Mapping[str, str] | None = None
    version: Version | None = None
    mpi_plugins: frozenset[str] | None = None
    srun_takes_containers: bool | None = None
    sbatch_takes_containers: bool | None = None
    associations: Sequence[Association] | None = None
    pyxis_release: str | None = None
    """As far as srun's options tell it."""
    errors: Mapping[str, HpcaiError] = field(default_factory=dict)
    """Why an answer is None, by its name."""

    @property
    def unanswered(self) -> list[str]:
        """The names of the answers that did not come in time."""
        return [name for name, error in self.errors.items() if isinstance(error, UnreachableError)]


def ask(client: SlurmClient, deadline_s: float = DEADLINE_S) -> Told:
    """Everything that a check of a job needs to know; takes no longer than its part of the deadline."""
    limit_s = deadline_s * _FOR_FACTS
    quick = client.within(limit_s)
    answers, errors = all_at_once(
        {
            "partitions": quick.partitions,
            "nodes": quick.nodes,
            "config": quick.config,
            "version": quick.version,
            "mpi_plugins": quick.mpi_plugins,
            "srun_takes_containers": quick.has_pyxis,
            "sbatch_takes_containers": quick.sbatch_has_pyxis,
            "associations": lambda: quick.associations(getpass.getuser()),
        },
        limit_s + 0.3,
    )
    # What srun's help told is known by now.
    release = quick.pyxis_release() if answers.get("srun_takes_containers") else None
    return Told(**answers, pyxis_release=release, errors=errors)


def all_at_once(
    calls: Mapping[str, Callable[[], Any]], limit_s: float
) -> tuple[dict[str, Any], dict[str, HpcaiError]]:
    """The answers by name, and the errors of those that gave none, or none in time."""
    answers: dict[str, Any] = {}
    errors: dict[str, HpcaiError] = {}

    def answer(name: str) -> None:
        try:
            answers[name] = calls[name]()
        except HpcaiError as error:
            errors[name] = error

    # A thread that still waits must not keep this process from ending.
    threads = {name: threading.Thread(target=answer, args=[name], daemon=True) for name in calls}
    for thread in threads.values():
        thread.start()
    end = time.monotonic() + limit_s
    for thread in threads.values():
        thread.join(max(0.0, end - time.monotonic()))
    waits = {name for name, thread in threads.items() if thread.is_alive()}
    late = [name for name in calls if name not in answers and name not in errors]
    for name in late:
        if name not in waits:
            raise RuntimeError(f"The question for {name} broke off, as told above.")
        errors[name] = UnreachableError(f"No answer came within {limit_s:.1f} s.")
    return dict(answers), {name: errors[name] for name in calls if name in errors}
