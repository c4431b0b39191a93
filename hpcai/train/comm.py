"""What training asks of the ranks together: one small protocol, and the choice among its three forms."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from hpcai.errors import (
    HpcaiError,
    NotFoundError,
    StageError,
    ToolError,
    UnreachableError,
    UsageError,
)
from hpcai.train.world import World, unequal_tasks

T = TypeVar("T")


class PeerLost(UnreachableError):
    """Another rank has ended, so that this one cannot go on."""


class Communicator(Protocol):
    """The ranks of one training. Every rank makes the same calls in the same order."""

    @property
    def name(self) -> str: ...

    @property
    def world(self) -> World: ...

    def prepare(self, model: nn.Module) -> nn.Module:
        """The module to train: it has rank 0's weights, and its gradients become means over the ranks."""
        ...

    def finish_gradients(self) -> None:
        """Waits after backward until every gradient is the mean over the ranks."""
        ...

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the ranks of a contiguous tensor."""
        ...

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Gives every rank the content of rank 0's tensors, of any dense memory format."""
        ...

    def broadcast_object(self, value: T) -> T:
        """Rank 0's value."""
        ...

    def errors(self) -> AbstractContextManager[None]:
        """Turns the library's report of a lost peer into PeerLost."""
        ...

    def close(self) -> None:
        """Leaves the ranks in order; every rank must call it."""
        ...


def connect(comm: str, world: World, device: torch.device, stall_timeout_s: float = 600.0) -> Communicator:
    """The communicator of this name, connected to all ranks; `auto` takes what the launcher is meant for.

    Where the library itself has a limit on the wait for another rank, that is `stall_timeout_s`.
    Raises UsageError, ToolError and UnreachableError.
    """
    chosen = _automatic(world) if comm == "auto" else comm
    connected = _connect(chosen, world, device, stall_timeout_s)
    _require_equal_nodes(connected)
    return connected


def _connect(chosen: str, world: World, device: torch.device, stall_timeout_s: float) -> Communicator:
    # Each library is heavy, and only one of them is needed.
    if chosen == "horovod":
        from hpcai.train.horovod import connect_horovod

        return connect_horovod(world)
    if chosen == "ddp":
        from hpcai.train.ddp import connect_ddp

        return connect_ddp(world, device, stall_timeout_s)
    from hpcai.train.single import Single

    if world.size > 1:
        raise UsageError(
            f"--comm single in a job of {world.size} processes would train {world.size} times the same.",
            next_step="Start one process, or choose --comm horovod or --comm ddp.",
        )
    return Single(world)


def _automatic(world: World) -> str:
    if world.size == 1:
        return "single"
    if world.launcher == "torchrun" or importlib.util.find_spec("horovod") is None:
        return "ddp"
    return "horovod"


def _require_equal_nodes(comm: Communicator) -> None:
    """Each rank knows only its own node, so that only all of them together see unequal nodes."""
    world = comm.world
    if world.size == 1:
        return
    sizes = torch.zeros(world.size, dtype=torch.int64)
    sizes[world.rank] = world.local_size
    sizes = comm.sum(sizes)
    if len(set(sizes.tolist())) != 1:
        raise unequal_tasks(f"by rank, {sizes.tolist()} processes on its node")


def require_size(library: str, seen: int, world: World) -> None:
    """Raises ToolError when the library has found another number of ranks than the launcher has started."""
    if seen != world.size:
        raise ToolError(
            f"The launcher ({world.launcher}) started {world.size} processes, but {library} sees {seen}.",
            allowed="That happens when the MPI that Horovod was built with does not know the launcher.",
            next_step="Use `launcher: horovod` in the job file (srun --mpi=pmix), mpirun, or --comm ddp.",
        )


_BY_STATUS = {
    kind.exit_status: kind for kind in (UsageError, ToolError, NotFoundError, UnreachableError, StageError)
}


def together(comm: Communicator, action: Callable[[], T]) -> T:
    """The action's result; when it fails on any rank it fails on all, so that none waits for the others.

    A rank that is well ends with the status of the first that is not: srun tells the highest of all.
    """
    failure: HpcaiError | None = None
    result: Any = None
    try:
        result = action()
    except HpcaiError as error:
        failure = error
    statuses = torch.zeros(comm.world.size, dtype=torch.int64)
    statuses[comm.world.rank] = failure.exit_status if failure else 0
    statuses = comm.sum(statuses)
    if failure is not None:
        raise failure
    failed = statuses.nonzero().flatten().tolist()
    if failed:
        ranks = ", ".join(map(str, failed))
        kind = _BY_STATUS.get(int(statuses[failed[0]]), ToolError)
        raise kind(f"This rank is well, but rank {ranks} could not go on; its own message says why.")
    return result  # type: ignore[no-any-return]


_TEXT_BYTES = 256


def texts_by_rank(comm: Communicator, text: str) -> list[str]:
    """A short text of every rank, in the order of ranks; what is longer than 256 bytes is cut."""
    rows = torch.zeros(comm.world.size, _TEXT_BYTES, dtype=torch.int64)
    data = text.encode()[:_TEXT_BYTES]
    rows[comm.world.rank, : len(data)] = torch.tensor(list(data), dtype=torch.int64)
    rows = comm.sum(rows)
    return [bytes(row).rstrip(b"\0").decode(errors="replace") for row in rows.tolist()]
