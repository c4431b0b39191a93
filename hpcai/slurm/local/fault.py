"""What can happen to a node, done on purpose: power loss, being drained, coming back."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

from hpcai import processes
from hpcai.errors import NotFoundError, ToolError, did_you_mean
from hpcai.files import locked
from hpcai.slurm.local import lifecycle, marks, record
from hpcai.slurm.local.cluster import require_up
from hpcai.slurm.local.places import Place

BACK_TIMEOUT_S = 30.0


def kill_node(name: str, node: str, *, cache: Path | None = None) -> None:
    """Ends a node as a power loss does: daemon, steps and job processes at once; it stays dead until resumed.

    The controller learns of it only by the node's silence, some 15 s later.
    """
    where, _ = _node(name, node, cache)
    with locked(where.lock):
        where.killed_mark(node).touch()
        # All stand still before the first one ends: a step that saw its tasks die would report a failed job.
        found = lifecycle.remains(where, node=node)
        for process in found:
            processes.send(process, signal.SIGSTOP)
        processes.end(lambda known: lifecycle.remains(where, node=node, also=[*found, *known]), grace_s=0)
        _forget_steps(where.state, node)


def _forget_steps(state: Path, node: str) -> None:
    """Removes what a restart would: sockets, folders and scripts, whose names a requeued job uses again."""
    spool = marks.spool(state) / node
    of_jobs = [left for name in ("*pmix*", f"{node}_*", "job[0-9]*") for left in spool.glob(name)]
    for left in [*of_jobs, *(state / "tmp" / node).iterdir()]:
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()


def drain(
    name: str, node: str, *, reason: str = "hpcai local fault drain", cache: Path | None = None
) -> None:
    """Lets a node finish what it runs and gives it nothing new."""
    where, cluster = _node(name, node, cache)
    with locked(where.lock):
        lifecycle.ask(cluster, "scontrol", "update", f"NodeName={node}", "State=DRAIN", f"Reason={reason}")


def resume(name: str, node: str, *, cache: Path | None = None) -> bool:
    """Brings a killed or drained node back and waits until it answers; False when there was nothing to do."""
    where, cluster = _node(name, node, cache)
    with locked(where.lock):
        was_dead = where.killed_mark(node).exists()
        if was_dead:
            where.killed_mark(node).unlink()
            _wake_supervisor(where)
            _wait_for(cluster, node)
        state = lifecycle.node_states(cluster).get(node, ("unknown", None))[0]
        held = state.startswith(("drain", "down", "fail"))
        if held:
            lifecycle.ask(cluster, "scontrol", "update", f"NodeName={node}", "State=RESUME")
            _wait_for(cluster, node)
    return was_dead or held


def _node(name: str, node: str, cache: Path | None) -> tuple[Place, record.Cluster]:
    where, cluster = require_up(name, cache=cache)
    names = cluster.shape.node_names()
    if node not in names:
        raise NotFoundError(
            f"The embedded cluster {name!r} has no node {node!r}.",
            allowed=" ".join(
                filter(None, [did_you_mean(node, names), f"Its nodes are: {', '.join(names)}."])
            ),
        )
    return where, cluster


def _wake_supervisor(where: Place) -> None:
    daemons = record.load_daemons(where)
    if daemons is not None:
        processes.send(daemons.supervisor, signal.SIGHUP)


def _wait_for(cluster: record.Cluster, node: str) -> None:
    deadline = time.monotonic() + BACK_TIMEOUT_S
    while not lifecycle.answers(lifecycle.node_states(cluster).get(node, ("unknown", None))[0]):
        if time.monotonic() >= deadline:
            raise ToolError(
                f"Node {node!r} did not come back within {BACK_TIMEOUT_S:g} s.",
                next_step=f"Its log is '{cluster.home}/log/{node}.log'.",
            )
        time.sleep(0.1)
