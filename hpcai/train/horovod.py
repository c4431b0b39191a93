"""Horovod, with gradients in flat buckets of ours."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn

from hpcai.errors import ToolError, UsageError
from hpcai.train.buckets import BUCKET_BYTES, GradientBuckets, storage_view
from hpcai.train.comm import PeerLost, require_size
from hpcai.train.world import World

T = TypeVar("T")


class Horovod:
    """The communicator over Horovod, which has been initialised."""

    name = "horovod"

    def __init__(self, world: World, hvd: Any, bucket_bytes: int = BUCKET_BYTES) -> None:
        self.world = world
        self._bucket_bytes = bucket_bytes
        self._hvd = hvd
        self._buckets: GradientBuckets | None = None

    def prepare(self, model: nn.Module) -> nn.Module:
        self.broadcast(model.state_dict().values())
        if self._buckets is not None:
            self._buckets.remove()
        self._buckets = GradientBuckets(
            model, self.world.size, self._start_sum, self._hvd.synchronize, self._bucket_bytes
        )
        return model

    def finish_gradients(self) -> None:
        assert self._buckets is not None
        self._buckets.finish()

    def sum(self, values: Tensor) -> Tensor:
        total: Tensor = self._hvd.allreduce(values, op=self._hvd.Sum)
        return total

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        running = [
            self._hvd.broadcast_async_(storage_view(tensor), root_rank=0, name=f"broadcast-{number}")
            for number, tensor in enumerate(tensors)
        ]
        for handle in running:
            self._hvd.synchronize(handle)

    def broadcast_object(self, value: T) -> T:
        # Without a name Horovod takes that of the value's type, which differs between the ranks: a deadlock.
        received: T = self._hvd.broadcast_object(value, root_rank=0, name="object")
        return received

    @contextmanager
    def errors(self) -> Iterator[None]:
        from horovod.common.exceptions import HorovodInternalError

        try:
            yield
        except HorovodInternalError as error:
            first_line = str(error).splitlines()[0]
            raise PeerLost(f"Rank {self.world.rank} has lost another rank: {first_line}") from error

    def close(self) -> None:
        self._hvd.shutdown()

    def _start_sum(self, flat: Tensor, name: str) -> Any:
        return self._hvd.allreduce_async_(flat, name=name, op=self._hvd.Sum)


def connect_horovod(world: World, bucket_bytes: int = BUCKET_BYTES) -> Horovod:
    """Horovod with all ranks that the launcher has started.

    Raises UsageError and ToolError when Horovod is missing or cannot find the other ranks.
    """
    _require_pmi(world, os.environ)
    # Horovod's own thread asks MPI every millisecond whether a tensor is ready, and Open MPI waits by
    # spinning: on a core that also computes that takes a third of the speed away.
    os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
    try:
        import horovod.torch as hvd
    except ImportError as error:
        raise ToolError(
            f"Horovod cannot be used: {str(error).rstrip('.')}.",
            next_step="`./dev demo` builds it for the installed torch; --comm ddp needs nothing more.",
        ) from error
    hvd.init()
    require_size("Horovod", hvd.size(), world)
    return Horovod(world, hvd, bucket_bytes)


def _require_pmi(world: World, environ: Mapping[str, str]) -> None:
    """MPI under srun finds its ranks through PMI alone, and without it ends the process in other words."""
    by_mpi = environ.get("HOROVOD_CONTROLLER") != "gloo"
    if (
        world.launcher == "slurm"
        and world.size > 1
        and by_mpi
        and not any(n.startswith("PMI") for n in environ)
    ):
        raise UsageError(
            f"srun started {world.size} tasks without PMI, so that MPI cannot bring them together.",
            allowed="Horovod under srun needs --mpi=pmix (`srun --mpi=list` names what this Slurm has).",
            next_step="Use `launcher: horovod` in the job file, srun --mpi=pmix, or --comm ddp.",
        )
