"""How a cluster's processes begin and end. Whoever calls these holds the cluster's lock."""

from __future__ import annotations

import os
import pwd
import signal
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import hpcai
from hpcai import processes, shell
from hpcai.entry import looked_at
from hpcai.errors import HpcaiError, ToolError
from hpcai.slurm.local import marks, ports, record, setup
from hpcai.slurm.local.places import Place

READY_TIMEOUT_S = 60.0
ASK_TIMEOUT_S = 20.0
STATES_TIMEOUT_S = 5.0
CANCEL_TIMEOUT_S = 3.0
# The supervisor gives each daemon 5 s, and kills it then.
STOP_TIMEOUT_S = 60.0
STRAGGLER_GRACE_S = 2.0
# A daemon that fails this often while the cluster comes up will not come up at all.
FAILURES_AT_START = 2
# What everything of this user is charged to, in a cluster with accounting.
ACCOUNT = "local"
INHERITED = ("HOME", "LOGNAME", "PATH", "TZ", "USER")


def is_up(where: Place) -> bool:
    """Whether the cluster has come up and its supervisor still lives."""
    daemons = record.load_daemons(where)
    return looked_at(where.ready).is_there and daemons is not None and processes.is_alive(daemons.supervisor)


def remains(
    where: Place, *, node: str | None = None, also: Collection[processes.Process] = ()
) -> list[processes.Process]:
    """Every process of the cluster, or of one node, the jobs' included; also when its folder was deleted."""
    confs = [str(folder / "slurm.conf") for folder in (where.state, setup.alias(where))]
    return marks.of_cluster(where.state, confs, node=node, also=also)


def ask(cluster: record.Cluster, *words: str, timeout_s: float = ASK_TIMEOUT_S, check: bool = True) -> str:
    """What one of Slurm's commands prints; the caller's own SLURM_... variables do not reach it."""
    program = f"{cluster.home}/slurm/bin/{words[0]}"
    environ = {**_environ(), "SLURM_CONF": str(cluster.conf)}
    argv = [program, *words[1:]]
    return shell.run(argv, timeout_s=timeout_s, env=environ, check=check).stdout


def node_states(cluster: record.Cluster) -> dict[str, tuple[str, str | None]]:
    """State and reason of each node as the controller tells them; nothing when it does not answer."""
    try:
        words = ["sinfo", "-h", "-N", "-p", "main", "-o", "%N|%T|%E"]
        told = ask(cluster, *words, timeout_s=STATES_TIMEOUT_S, check=False)
    except HpcaiError:
        return {}
    rows = [line.split("|", 2) for line in told.splitlines()]
    return {row[0]: (row[1], None if row[2] == "none" else row[2]) for row in rows if len(row) == 3}


def answers(state: str) -> bool:
    """Whether a node in this state has reported to the controller: '*' marks one that does not."""
    return not state.endswith("*") and not state.startswith(("unk", "down"))


def start(where: Place, cluster: record.Cluster) -> None:
    """Starts the supervisor, which leaves our session, and waits until every node answers.

    Raises ToolError, with the last words of the daemon to blame.
    """
    package = Path(hpcai.__file__).parent.parent
    environ = {**_environ(), "PYTHONPATH": str(package), marks.STATE_MARK: str(where.state)}
    argv = [sys.executable, "-m", "hpcai.slurm.local.supervisor", str(where.cache), where.name]
    shell.run(argv, timeout_s=ASK_TIMEOUT_S, env=environ, cwd=where.state)
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not (_has_accounts(where, cluster) and _is_ready(where, cluster)):
        _fail_if_hopeless(where, late=time.monotonic() >= deadline)
        time.sleep(0.02)
    where.ready.touch()


def stop(where: Place, *, cancel_jobs: bool = False) -> None:
    """Ends the supervisor, which stops its daemons in order, then whatever is left of the cluster.

    Jobs that are not cancelled are requeued in the cluster's next life.
    """
    where.ready.unlink(missing_ok=True)
    found = remains(where)
    daemons = record.load_daemons(where)
    if daemons is not None:
        controller = daemons.running.get("slurmctld")
        if cancel_jobs and controller is not None and processes.is_alive(controller.process):
            _cancel_jobs(where)
        _stop_supervisor(daemons.supervisor)
    processes.end(lambda known: remains(where, also=[*found, *known]), grace_s=STRAGGLER_GRACE_S)
    where.daemons.unlink(missing_ok=True)
    setup.remove_alias(where)


def _stop_supervisor(supervisor: processes.Process) -> None:
    """SIGTERM once: it stops its daemons in order and takes the time that they take."""
    processes.send(supervisor, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while processes.is_alive(supervisor) and time.monotonic() < deadline:
        time.sleep(0.01)


def _environ() -> dict[str, str]:
    return {"LANG": "C.UTF-8", **{key: os.environ[key] for key in INHERITED if key in os.environ}}


def _is_ready(where: Place, cluster: record.Cluster) -> bool:
    daemons = record.load_daemons(where)
    if daemons is None or not set(cluster.shape.node_names()) <= set(daemons.running):
        return False
    if cluster.blob_port is not None and not ports.is_listening(cluster.blob_port):
        return False
    states = node_states(cluster)
    return len(states) == cluster.shape.nodes and all(answers(state) for state, _ in states.values())


def _has_accounts(where: Place, cluster: record.Cluster) -> bool:
    """Whether the user has an account, where there are any: made as soon as slurmdbd answers."""
    if cluster.accounting_port is None or where.accounts.exists():
        return True
    if not ports.is_listening(cluster.accounting_port):
        return False
    user = pwd.getpwuid(os.getuid()).pw_name
    shown = ("--noheader", "--parsable2", "show", "associations", f"user={user}", f"account={ACCOUNT}")
    if not ask(cluster, "sacctmgr", *shown).strip():
        for words in (
            ("add", "cluster", "local"),
            ("add", "account", ACCOUNT, "cluster=local"),
            ("add", "user", user, f"account={ACCOUNT}", "adminlevel=admin"),
            # root has an account of that name from the first.
            ("modify", "user", user, "set", f"defaultaccount={ACCOUNT}"),
        ):
            ask(cluster, "sacctmgr", "--immediate", *words, check=False)
        if not ask(cluster, "sacctmgr", *shown).strip():
            raise ToolError(
                f"The user {user!r} got no account from slurmdbd.", next_step=f"Its log is in {where.logs}"
            )
    where.accounts.touch()
    daemons = record.load_daemons(where)
    if daemons is not None:
        processes.send(daemons.supervisor, signal.SIGHUP)
    return True


def _fail_if_hopeless(where: Place, *, late: bool) -> None:
    daemons = record.load_daemons(where)
    restarts = daemons.restarts if daemons else {}
    failing = [name for name, count in restarts.items() if count >= FAILURES_AT_START]
    if not failing and not late:
        return
    blamed = failing[0] if failing else "slurmctld"
    words = f"{blamed} keeps ending" if failing else f"it was not ready within {READY_TIMEOUT_S:g} s"
    why = _last_words(where, blamed).rstrip(".")
    raise ToolError(
        f"The embedded cluster {where.name!r} did not come up: {words}: {why}.",
        next_step=f"Its logs are in {where.logs}",
    )


def _last_words(where: Place, daemon: str) -> str:
    """The line in which a daemon says why it ended."""
    lines = [*_lines(where.logs / f"{daemon}.err"), *_lines(where.logs / f"{daemon}.log")]
    for word in ("fatal", "error", ""):
        told = [line for line in lines if word in line.lower()]
        if told:
            return told[-1]
    return "it wrote nothing"


def _lines(file: Path) -> Iterator[str]:
    with suppress(FileNotFoundError):
        yield from filter(None, file.read_text(encoding="utf-8", errors="replace").splitlines())


def _cancel_jobs(where: Place) -> None:
    """Waits a little for the jobs to end; a controller that does not answer is not waited for."""
    cluster = record.load_cluster(where)
    assert cluster is not None
    deadline = time.monotonic() + CANCEL_TIMEOUT_S
    with suppress(HpcaiError):
        while (left := deadline - time.monotonic()) > 0 and ask(
            cluster, "squeue", "-h", timeout_s=left
        ).strip():
            ask(
                cluster,
                "scancel",
                "--user",
                str(os.getuid()),
                timeout_s=max(0.1, deadline - time.monotonic()),
            )
            time.sleep(0.1)
