"""Embedded clusters by name: up, down, what they are doing, and the environment that leads to them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcai import processes
from hpcai.entry import looked_at
from hpcai.errors import NotFoundError, ToolError, UsageError, did_you_mean
from hpcai.files import locked
from hpcai.slurm.local import azurite, lifecycle, marks, ports, prefix, pyxis, record, setup
from hpcai.slurm.local.conf import Shape
from hpcai.slurm.local.places import DEFAULT, Place, place
from hpcai.specs.site import cache_dir
from hpcai.specs.slurm_options import slurm_version

# Far more than a machine can play: beyond them it is a typing error.
LIMITS = {"nodes": (1, 64), "cpus_per_node": (1, 1024), "gpus_per_node": (0, 64)}

ATTEMPTS = 3


def up(
    name: str = DEFAULT,
    *,
    nodes: int = 2,
    cpus_per_node: int | None = None,
    gpus_per_node: int = 0,
    memory_mib_per_node: int | None = None,
    blob: bool = False,
    pyxis_version: str | None = None,
    slurm: str | None = None,
    cache: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> bool:
    """Whether the cluster had to be started: False when one of this very shape was up already.

    CPUs and memory are this machine's unless given; they may be more than it has.
    With `pyxis_version` tasks may run in containers, by a stand-in that plays this version of Pyxis.
    `slurm` is a release of `prefix.SUITES`; None is that of this machine's distribution.
    Job numbers, Blob data and the nodes' scratch of an earlier life under this name are still there.
    `tell` is told what takes long the first time.
    Raises ToolError when a cluster of another shape is up, or when this one does not come up.
    """
    where = _place(name, cache)
    shape = Shape(
        nodes=nodes,
        cpus_per_node=(os.cpu_count() or 1) if cpus_per_node is None else cpus_per_node,
        gpus_per_node=gpus_per_node,
        memory_mib_per_node=_machine_memory_mib() if memory_mib_per_node is None else memory_mib_per_node,
        blob=blob,
        pyxis=pyxis_version,
    )
    _check(shape, slurm)
    with locked(where.lock):
        if lifecycle.is_up(where):
            _same_shape(where, shape, slurm)
            return False
        lifecycle.stop(where)
        _tell_of_fetches(where.cache, shape, slurm, tell)
        _bring_up(where, shape, slurm)
    return True


def _tell_of_fetches(cache: Path, shape: Shape, slurm: str | None, tell: Callable[[str], None]) -> None:
    if not prefix.is_made(cache, slurm):
        tell(f"Fetching Slurm from {prefix.origin(cache, slurm)}, the first time only.")
    if shape.blob and not azurite.is_made(cache):
        tell(f"Fetching Azurite {azurite.VERSION} by npm: 60 MB, the first time only.")
    if shape.pyxis is not None and not pyxis.is_made(cache):
        tell("Fetching squashfs-tools from this machine's distribution: 3 MB, the first time only.")


def down(name: str = DEFAULT, *, purge: bool = False, cache: Path | None = None) -> bool:
    """Whether anything ran: cancels the jobs, then ends every process of the cluster.

    With `purge` its folder goes too: job numbers, Blob data, scratch.
    Raises NotFoundError for an unknown name.
    """
    where = _place(name, cache)
    if not lifecycle.remains(where):
        _known(name, cache)
    with locked(where.lock):
        had = bool(lifecycle.remains(where))
        lifecycle.stop(where, cancel_jobs=True)
        if purge:
            pyxis.make_removable(where.state / "containers")
            shutil.rmtree(where.state, ignore_errors=True)
    return had


def leftovers(*, cache: Path | None = None) -> list[str]:
    """The names of clusters whose folder was deleted while they ran."""
    folder = (cache or cache_dir(os.environ)) / "local"
    return sorted(
        {state.name for state in marks.marked_states() if state.parent == folder} - set(known(cache=cache))
    )


def running(*, cache: Path | None = None) -> list[str]:
    """The names of the clusters that are up."""
    return [name for name in known(cache=cache) if lifecycle.is_up(_place(name, cache))]


def known(*, cache: Path | None = None) -> list[str]:
    """The names of all clusters that have a folder, up or down."""
    folder = (cache or cache_dir(os.environ)) / "local"
    return sorted(file.parent.name for file in folder.glob("*/cluster.json"))


def environment(
    name: str = DEFAULT, *, cache: Path | None = None, environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables that make this cluster the one that programs talk to; PATH extends the one in `environ`.

    No secret is among them: HPCAI_STORAGE_CREDENTIALS is the path of a file.
    Raises NotFoundError for an unknown name, ToolError when the cluster is down.
    """
    _, cluster = require_up(name, cache=cache)
    path = _first_on_path(f"{cluster.home}/slurm/bin", environ.get("PATH", os.defpath))
    if cluster.shape.pyxis is not None:
        path = _first_on_path(f"{cluster.home}/pyxis", path)
    found = {
        "HPCAI_LOCAL": name,
        "HPCAI_SCRATCH": f"{cluster.home}/scratch/%n",
        "PATH": path,
        "SLURM_CONF": str(cluster.conf),
    }
    if cluster.blob_endpoint is not None:
        found["AZURE_STORAGE_ACCOUNT"] = azurite.ACCOUNT
        found["HPCAI_STORAGE_ENDPOINT"] = cluster.blob_endpoint
        found["HPCAI_STORAGE_CREDENTIALS"] = f"{cluster.home}/secrets/blob.json"
    return found


def _first_on_path(folder: str, path: str) -> str:
    """The search path with the folder at its begin, and there alone."""
    return os.pathsep.join([folder, *(one for one in path.split(os.pathsep) if one != folder)])


def require_up(name: str, *, cache: Path | None = None) -> tuple[Place, record.Cluster]:
    """A cluster that is up. Raises NotFoundError for an unknown name, ToolError when it is down."""
    where = _known(name, cache)
    cluster = record.load_cluster(where)
    if cluster is None or not lifecycle.is_up(where):
        again = "" if name == DEFAULT else f" --name {name}"
        raise ToolError(f"The embedded cluster {name!r} is down.", next_step=f"hpcai local up{again}")
    return where, cluster


@dataclass(frozen=True)
class NodeStatus:
    """One node: what Slurm says of it, and the daemon that plays it; no pid means that it is dead."""

    name: str
    state: str
    reason: str | None
    pid: int | None
    restarts: int


@dataclass(frozen=True)
class Status:
    """A cluster at this moment.

    `state` is up, starting, down, or unsupervised when its supervisor was killed.
    """

    name: str
    state: str
    uptime_s: float | None
    shape: Shape
    slurm_version: str
    pids: Mapping[str, int]
    nodes: tuple[NodeStatus, ...]
    blob_endpoint: str | None
    folder: Path


def status(name: str = DEFAULT, *, cache: Path | None = None) -> Status:
    """The cluster's state. Raises NotFoundError for an unknown name."""
    where = _known(name, cache)
    cluster = record.load_cluster(where)
    assert cluster is not None
    daemons = record.load_daemons(where)
    running = daemons.running if daemons else {}
    alive = {key: entry for key, entry in running.items() if processes.is_alive(entry.process)}
    supervised = daemons is not None and processes.is_alive(daemons.supervisor)
    pids = {key: entry.process.pid for key, entry in alive.items()}
    if supervised and daemons is not None:
        pids["supervisor"] = daemons.supervisor.pid
    return Status(
        name=name,
        state=_state(where, supervised, bool(alive)),
        uptime_s=round(time.time() - daemons.since, 1) if supervised and daemons else None,
        shape=cluster.shape,
        slurm_version=cluster.slurm_version,
        pids=pids,
        nodes=_nodes(cluster, alive, daemons.restarts if daemons else {}),
        blob_endpoint=cluster.blob_endpoint if "blob" in alive else None,
        folder=where.state,
    )


def _state(where: Place, supervised: bool, alive: bool) -> str:
    if supervised:
        return "up" if looked_at(where.ready).is_there else "starting"
    return "unsupervised" if alive else "down"


def _nodes(
    cluster: record.Cluster, alive: Mapping[str, record.Running], restarts: Mapping[str, int]
) -> tuple[NodeStatus, ...]:
    told = lifecycle.node_states(cluster) if "slurmctld" in alive else {}
    silent = ("unknown" if alive else "down", None)
    return tuple(
        NodeStatus(
            node,
            *told.get(node, silent),
            pid=alive[node].process.pid if node in alive else None,
            restarts=restarts.get(node, 0),
        )
        for node in cluster.shape.node_names()
    )


def _bring_up(where: Place, shape: Shape, slurm: str | None) -> None:
    programs = prefix.ensure(where.cache, slurm)
    _same_release(where, programs.version())
    start_azurite = azurite.ensure(where.cache) if shape.blob else ()
    standin = pyxis.ensure(where.cache, programs) if shape.pyxis is not None else None
    for attempt in range(ATTEMPTS):
        cluster = setup.set_up(where, shape, programs, start_azurite, standin, attempt=attempt)
        try:
            lifecycle.start(where, cluster)
        except BaseException as error:
            lifecycle.stop(where)
            # Somebody else took a port between our look and our start: others will do.
            taken = not all(ports.is_free(port) for port in cluster.ports)
            if not (isinstance(error, ToolError) and taken and attempt < ATTEMPTS - 1):
                raise
        else:
            return


def _same_release(where: Place, version: str) -> None:
    """A slurmctld cannot read what one of a later release, or of one long ago, left behind."""
    cluster = record.load_cluster(where)
    if cluster is None or slurm_version(cluster.slurm_version) == slurm_version(version):
        return
    raise ToolError(
        f"The embedded cluster {where.name!r} keeps the jobs of its Slurm {cluster.slurm_version}, "
        f"which {version} may not read.",
        next_step=f"`hpcai local down --name {where.name} --purge` forgets them; or choose another --name.",
    )


def _check(shape: Shape, slurm: str | None) -> None:
    if slurm is not None and slurm not in prefix.SUITES:
        raise UsageError(
            f"There is no Slurm {slurm!r} to be had.", allowed=f"There are: {', '.join(prefix.SUITES)}."
        )
    for field, (least, most) in LIMITS.items():
        got = getattr(shape, field)
        if not least <= got <= most:
            raise UsageError(f"{field} is {got}.", allowed=f"{least} to {most} are possible.")
    if shape.pyxis is not None:
        pyxis.require(shape.pyxis)
    if shape.memory_mib_per_node < shape.cpus_per_node:
        raise UsageError(
            f"memory_mib_per_node is {shape.memory_mib_per_node}.",
            allowed="At least 1 MiB for each CPU is needed.",
        )


def _machine_memory_mib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def _place(name: str, cache: Path | None) -> Place:
    return place(cache or cache_dir(os.environ), name)


def _known(name: str, cache: Path | None) -> Place:
    where = _place(name, cache)
    names = known(cache=cache)
    if name not in names:
        listed = f"There are: {', '.join(names)}." if names else "There is no embedded cluster yet."
        raise NotFoundError(
            f"There is no embedded cluster {name!r}.",
            allowed=" ".join(filter(None, [did_you_mean(name, names), listed])),
            next_step="hpcai local up" if name == DEFAULT else f"hpcai local up --name {name}",
        )
    return where


def _in_words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _same_shape(where: Place, asked: Shape, slurm: str | None) -> None:
    cluster = record.load_cluster(where)
    assert cluster is not None
    pairs = ((field, getattr(cluster.shape, field), getattr(asked, field)) for field in vars(asked))
    differences = [
        f"{key} is {_in_words(has)}, not {_in_words(asks)}" for key, has, asks in pairs if has != asks
    ]
    if cluster.prefix != prefix.place(where.cache, slurm):
        differences.append(f"slurm is {cluster.slurm_version}, not {slurm or 'that of the distribution'}")
    if differences:
        raise ToolError(
            f"The embedded cluster {where.name!r} is up in another shape: {', '.join(differences)}.",
            next_step=f"`hpcai local down --name {where.name}` ends it; or choose another --name.",
        )
