"""Brings an embedded cluster up and down and tells its state."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import hpcai
from hpcai import shell
from hpcai.errors import HpcaiError, NotFoundError, ToolError, UsageError, did_you_mean
from hpcai.slurm.local import azurite, ports, processes, record, setup
from hpcai.slurm.local.conf import Shape
from hpcai.slurm.local.places import Place, locked, place
from hpcai.slurm.local.prefix import ensure as ensure_prefix
from hpcai.specs.site import cache_dir

DEFAULT = "default"
MOST_NODES = 64
MOST_CPUS = 1024
MOST_GPUS = 64
READY_TIMEOUT_S = 40.0
ASK_TIMEOUT_S = 20.0
CANCEL_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 40.0
# A daemon that fails this often while the cluster comes up will not come up at all.
FAILURES_AT_START = 3


def up(
    name: str = DEFAULT,
    *,
    nodes: int = 2,
    cpus_per_node: int | None = None,
    gpus_per_node: int = 0,
    memory_mib_per_node: int | None = None,
    blob: bool = False,
    cache: Path | None = None,
) -> bool:
    """Whether the cluster had to be started: False when one of this very shape was up already.

    Job history, Blob data and the nodes' scratch of an earlier life under this name are still there.
    Raises ToolError when a cluster of another shape is up, or when this one does not come up.
    """
    where = place(cache or cache_dir(os.environ), name)
    shape = Shape(
        nodes=nodes,
        cpus_per_node=cpus_per_node or os.cpu_count() or 1,
        gpus_per_node=gpus_per_node,
        memory_mib_per_node=memory_mib_per_node or _machine_memory_mib(),
        blob=blob,
    )
    _check(shape)
    with locked(where.lock):
        if _is_up(where):
            _same_shape(where, shape)
            return False
        _end_everything(where)
        prefix = ensure_prefix(where.cache)
        cluster = setup.set_up(where, shape, prefix, azurite.ensure(where.cache) if blob else ())
        try:
            _start(where, cluster)
        except (HpcaiError, KeyboardInterrupt):
            _end_everything(where)
            raise
    return True


def down(name: str = DEFAULT, *, purge: bool = False, cache: Path | None = None) -> bool:
    """Whether anything ran: cancels the jobs, then ends every process of the cluster, whatever state it is in.

    With `purge` its state folder goes too: job history, Blob data, scratch. Raises NotFoundError for an unknown name.
    """
    where = _known(name, cache)
    with locked(where.lock):
        was_up = bool(_processes(where))
        if was_up:
            _cancel_jobs(where)
        _end_everything(where)
        if purge:
            shutil.rmtree(where.state)
    return was_up


def running(cache: Path | None = None) -> list[str]:
    """The names of the clusters that are up."""
    return [name for name in known(cache) if _is_up(Place(cache or cache_dir(os.environ), name))]


def known(cache: Path | None = None) -> list[str]:
    """The names of all clusters that have a state folder, up or down."""
    folder = (cache or cache_dir(os.environ)) / "local"
    return sorted(file.parent.name for file in folder.glob("*/cluster.json"))


def environment(
    name: str = DEFAULT, *, cache: Path | None = None, environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables that make this cluster the one that programs talk to; PATH extends the one in `environ`.

    No secret is among them: HPCAI_STORAGE_CREDENTIALS is the path of a file.
    """
    where = _known(name, cache)
    cluster = _up(where)
    found = {
        "HPCAI_LOCAL": name,
        "HPCAI_SCRATCH": f"{cluster.home}/scratch/%n",
        "PATH": os.pathsep.join([f"{cluster.home}/slurm/bin", environ.get("PATH", os.defpath)]),
        "SLURM_CONF": str(cluster.conf),
    }
    if cluster.blob_endpoint is not None:
        found["AZURE_STORAGE_ACCOUNT"] = azurite.ACCOUNT
        found["HPCAI_STORAGE_ENDPOINT"] = cluster.blob_endpoint
        found["HPCAI_STORAGE_CREDENTIALS"] = f"{cluster.home}/secrets/blob.json"
    return found


@dataclass(frozen=True)
class NodeStatus:
    """One node: what Slurm says of it and the daemon that plays it."""

    name: str
    state: str
    reason: str | None
    pid: int | None
    restarts: int


@dataclass(frozen=True)
class Status:
    """A cluster at this moment. `supervised` is False when its supervisor was killed."""

    name: str
    state: str
    uptime_s: float | None
    shape: Shape
    slurm_version: str
    supervised: bool
    pids: Mapping[str, int]
    nodes: tuple[NodeStatus, ...]
    blob_endpoint: str | None
    folder: Path


def status(name: str = DEFAULT, *, cache: Path | None = None) -> Status:
    """The cluster's state, 'up', 'down' or 'unsupervised'. Raises NotFoundError for an unknown name."""
    where = _known(name, cache)
    cluster = record.load_cluster(where)
    assert cluster is not None
    daemons = record.load_daemons(where)
    alive = (
        {key: entry for key, entry in daemons.running.items() if processes.is_alive(entry.process)} if daemons else {}
    )
    supervised = daemons is not None and processes.is_alive(daemons.supervisor)
    state = "up" if supervised else "unsupervised" if alive else "down"
    pids = {key: entry.process.pid for key, entry in alive.items()}
    if supervised and daemons is not None:
        pids["supervisor"] = daemons.supervisor.pid
    told = _node_states(where, cluster) if "slurmctld" in alive else {}
    return Status(
        name=name,
        state=state,
        uptime_s=round(time.time() - daemons.since, 1) if daemons and supervised else None,
        shape=cluster.shape,
        slurm_version=cluster.slurm_version,
        supervised=supervised,
        pids=pids,
        nodes=tuple(
            NodeStatus(
                node,
                *told.get(node, ("down" if state == "down" else "unknown", None)),
                pids.get(node),
                alive[node].restarts if node in alive else 0,
            )
            for node in cluster.shape.node_names()
        ),
        blob_endpoint=cluster.blob_endpoint if "blob" in alive else None,
        folder=where.state,
    )


def _node_states(where: Place, cluster: record.Cluster) -> dict[str, tuple[str, str | None]]:
    """State and reason of each node as the controller tells; nothing when it does not answer."""
    words = ["sinfo", "-h", "-N", "-p", "main", "-o", "%N|%T|%E"]
    try:
        done = shell.run(_client(cluster, words), timeout_s=ASK_TIMEOUT_S, env=_client_environ(cluster), check=False)
    except HpcaiError:
        return {}
    rows = [line.split("|", 2) for line in done.stdout.splitlines()]
    return {row[0]: (row[1], None if row[2] == "none" else row[2]) for row in rows if len(row) == 3}


def _client(cluster: record.Cluster, words: list[str]) -> list[str]:
    return [f"{cluster.home}/slurm/bin/{words[0]}", *words[1:]]


def _client_environ(cluster: record.Cluster) -> dict[str, str]:
    return {**os.environ, "SLURM_CONF": str(cluster.conf)}


def _check(shape: Shape) -> None:
    limits = {"nodes": (1, MOST_NODES), "cpus_per_node": (1, MOST_CPUS), "gpus_per_node": (0, MOST_GPUS)}
    for field, (least, most) in limits.items():
        got = getattr(shape, field)
        if not least <= got <= most:
            raise UsageError(f"{field} is {got}", allowed=f"{least} to {most} are possible.")
    if shape.memory_mib_per_node < shape.cpus_per_node:
        raise UsageError(
            f"memory_mib_per_node is {shape.memory_mib_per_node}", allowed="At least 1 MiB for each CPU is needed."
        )


def _machine_memory_mib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def _known(name: str, cache: Path | None) -> Place:
    where = place(cache or cache_dir(os.environ), name)
    names = known(cache)
    if name not in names:
        listed = f"There are: {', '.join(names)}." if names else "There is no embedded cluster yet."
        raise NotFoundError(
            f"there is no embedded cluster {name!r}",
            allowed=" ".join(filter(None, [did_you_mean(name, names), listed])),
            next_step=f"hpcai local up --name {name}" if name != DEFAULT else "hpcai local up",
        )
    return where


def _up(where: Place) -> record.Cluster:
    cluster = record.load_cluster(where)
    if cluster is None or not _is_up(where):
        again = "" if where.name == DEFAULT else f" --name {where.name}"
        raise ToolError(f"the embedded cluster {where.name!r} is down", next_step=f"hpcai local up{again}")
    return cluster


def _is_up(where: Place) -> bool:
    daemons = record.load_daemons(where)
    return daemons is not None and processes.is_alive(daemons.supervisor)


def _same_shape(where: Place, asked: Shape) -> None:
    cluster = record.load_cluster(where)
    assert cluster is not None
    if cluster.shape == asked:
        return
    pairs = ((field, getattr(cluster.shape, field), getattr(asked, field)) for field in vars(asked))
    differences = [f"{field} is {has}, not {wanted}" for field, has, wanted in pairs if has != wanted]
    raise ToolError(
        f"the embedded cluster {where.name!r} is up in another shape: {', '.join(differences)}",
        next_step=f"hpcai local down --name {where.name}, or another --name",
    )


def _processes(where: Place) -> list[processes.Process]:
    cluster = record.load_cluster(where)
    return processes.of_cluster(where.state, cluster.conf if cluster else where.state / "slurm.conf")


def _start(where: Place, cluster: record.Cluster) -> None:
    """Starts the supervisor, which leaves our session, and waits until every node answers."""
    package = Path(hpcai.__file__).parent.parent
    environ = {key: os.environ[key] for key in ("HOME", "USER", "LOGNAME", "TZ", "PATH") if key in os.environ}
    environ |= {"PYTHONPATH": str(package), processes.STATE_MARK: str(where.state)}
    argv = [sys.executable, "-m", "hpcai.slurm.local.supervisor", where.cache, where.name]
    where.daemons.unlink(missing_ok=True)
    shell.run(argv, timeout_s=ASK_TIMEOUT_S, env=environ, cwd=where.state)
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not _is_ready(where, cluster):
        _fail_if_hopeless(where, late=time.monotonic() >= deadline)
        time.sleep(0.02)


def _is_ready(where: Place, cluster: record.Cluster) -> bool:
    daemons = record.load_daemons(where)
    if daemons is None or not set(cluster.shape.node_names()) <= set(daemons.running):
        return False
    if cluster.blob_port is not None and not ports.is_listening(cluster.blob_port):
        return False
    states = [state for state, _ in _node_states(where, cluster).values()]
    waiting = [state for state in states if state.endswith("*") or state.startswith(("unk", "down"))]
    return len(states) == cluster.shape.nodes and not waiting


def _fail_if_hopeless(where: Place, *, late: bool) -> None:
    daemons = record.load_daemons(where)
    failing = [
        name for name, entry in (daemons.running if daemons else {}).items() if entry.restarts >= FAILURES_AT_START
    ]
    if not failing and not late:
        return
    blamed = failing[0] if failing else "supervisor"
    words = f"{blamed} keeps failing" if failing else f"it was not ready within {READY_TIMEOUT_S:g} s"
    raise ToolError(
        f"the embedded cluster {where.name!r} did not come up: {words}: {_last_words(where, blamed)}",
        next_step=f"Its logs are in {where.logs}",
    )


def _last_words(where: Place, daemon: str) -> str:
    for file in (where.logs / f"{daemon}.err", where.logs / f"{daemon}.log"):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
        told = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()] or lines
        if told:
            return told[-1]
    return "it wrote nothing"


def _cancel_jobs(where: Place) -> None:
    """Asks the controller to cancel everything and waits a little; a cluster that does not answer is ended anyway."""
    cluster = record.load_cluster(where)
    assert cluster is not None
    environ = _client_environ(cluster)
    deadline = time.monotonic() + CANCEL_TIMEOUT_S

    def ask(*words: str) -> str:
        left = max(0.5, deadline - time.monotonic())
        return shell.run(_client(cluster, list(words)), timeout_s=left, env=environ, check=False).stdout

    try:
        while ask("squeue", "-h", "-o", "%A").strip() and time.monotonic() < deadline:
            ask("scancel", "--user", str(os.getuid()))
            time.sleep(0.1)
    except HpcaiError:
        return


def _end_everything(where: Place) -> None:
    """Ends the supervisor, which stops its daemons in order, then whatever is left."""
    daemons = record.load_daemons(where)
    if daemons is not None:
        recorded = [daemons.supervisor]
        processes.end(lambda: filter(processes.is_alive, recorded), grace_s=STOP_TIMEOUT_S)
    processes.end(lambda: _processes(where), grace_s=2)
    where.daemons.unlink(missing_ok=True)
    link = setup.alias(where)
    if link.is_symlink() and link.lstat().st_uid == os.getuid():
        link.unlink()
