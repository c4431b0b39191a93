"""torch.distributed: NCCL where there is a GPU, else Gloo."""

from __future__ import annotations

import inspect
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from hpcai.errors import UnreachableError, UsageError
from hpcai.train.buckets import storage_view
from hpcai.train.comm import PeerLost
from hpcai.train.world import World

T = TypeVar("T")

# torch 2.13 renamed the option.
_BUFFERS_OPTION = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else "broadcast_buffers"
)
_CONNECT_TIMEOUT = timedelta(seconds=120)


class Ddp:
    """The communicator over a torch process group that is connected."""

    name = "ddp"

    def __init__(self, world: World, device: torch.device) -> None:
        self.world = world
        self._device = device

    def prepare(self, model: nn.Module) -> nn.Module:
        # Norms keep their own running statistics (Goyal et al. 2017); they are averaged where they are read.
        keep: dict[str, Any] = {_BUFFERS_OPTION: False}
        return DistributedDataParallel(model, gradient_as_bucket_view=True, **keep)

    def finish_gradients(self) -> None:
        return

    def sum(self, values: Tensor) -> Tensor:
        total = values.to(self._device, copy=True)
        dist.all_reduce(total)
        return total.to(values.device)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            there = storage_view(tensor).to(self._device)
            dist.broadcast(there, src=0)
            storage_view(tensor).copy_(there)

    def broadcast_object(self, value: T) -> T:
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, device=self._device)
        return box[0]  # type: ignore[no-any-return]

    @contextmanager
    def errors(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, dist.DistError) or "gloo" in str(error).lower():
                first_line = str(error).splitlines()[0]
                raise PeerLost(f"Rank {self.world.rank} has lost another rank: {first_line}") from error
            raise

    def close(self) -> None:
        dist.barrier()
        dist.destroy_process_group()


def connect_ddp(world: World, device: torch.device, stall_timeout_s: float) -> Ddp:
    """A process group of all ranks, met at the head node; then each waits `stall_timeout_s` for another.

    Raises UnreachableError.
    """
    address, port = meeting_point(world, os.environ)
    try:
        url = f"tcp://{address}:{port}"
        meeting = rendezvous(url, world.rank, world.size, timeout=_CONNECT_TIMEOUT)
        store, _, _ = next(meeting)
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=world.rank,
            world_size=world.size,
            timeout=timedelta(seconds=stall_timeout_s),
        )
    except (dist.DistError, RuntimeError, ValueError) as error:
        raise UnreachableError(
            f"Rank {world.rank} of {world.size} could not meet the others at {address}:{port}: "
            f"{str(error).splitlines()[0].rstrip('.')}.",
            next_step="MASTER_ADDR and MASTER_PORT name another place.",
        ) from error
    return Ddp(world, device)


def meeting_point(world: World, environ: Mapping[str, str]) -> tuple[str, int]:
    """Address and port of rank 0 as a URL has them, the same on every rank without asking anybody."""
    address = environ.get("MASTER_ADDR")
    if address is None:
        # The batch script runs on the first node, where rank 0 is, and its address needs no name service.
        address = environ.get("SLURM_LAUNCH_NODE_IPADDR", world.head_node)
    # A Slurm with IPv6 writes an IPv4 address as ::ffff:10.0.0.4, and torchrun hands that on.
    address = address.removeprefix("::ffff:")
    if ":" in address and not address.startswith("["):
        address = f"[{address}]"
    given = environ.get("MASTER_PORT")
    if given is not None:
        if not given.isdecimal():
            raise UsageError(f"MASTER_PORT is {given!r}, not a port.")
        return address, int(given)
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "PMIX_NAMESPACE")
    job = ".".join(environ.get(name, "") for name in names)
    return address, 10000 + zlib.crc32(job.encode()) % 20000
