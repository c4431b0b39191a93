"""The one process that keeps a cluster's daemons running. `hpcai local up` starts it; no user calls it."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpcai import processes, shell
from hpcai.errors import HpcaiError
from hpcai.slurm.local import azurite, database, marks, ports, record
from hpcai.slurm.local.places import Place, place

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 30.0
# A daemon that ran this long has recovered: its next failure is restarted at once again.
STEADY_S = 60.0
STOP_GRACE_S = 5.0


@dataclass
class Daemon:
    """A program that is to run, and how its last runs went."""

    name: str
    argv: list[str]
    environ: Mapping[str, str]
    may_start: Callable[[], bool]
    folder: Path | None = None
    program: shell.Running | None = None
    since: float = 0.0
    begun: float = 0.0
    not_before: float = 0.0
    failures: int = 0
    starts: int = 0


class Supervisor:
    def __init__(self, where: Place, cluster: record.Cluster) -> None:
        self._place, self._cluster = where, cluster
        self._since = record.now()
        self._stopping = False
        self._daemons = daemons(where, cluster)
        self._wake = _signals()

    def run(self) -> None:
        """Keeps everything running until SIGTERM."""
        tick = 0.01
        while not self._stopping:
            changed = self._reap() | self._start()
            tick = 0.01 if changed else min(tick * 1.3, 1.0)
            if changed:
                self._write()
            self._sleep(tick)
        self._stop()

    def _sleep(self, tick: float) -> None:
        """Until a signal comes; while a daemon waits to be started, no longer than `tick`."""
        waiting = any(daemon.program is None and self._wanted(daemon) for daemon in self._daemons)
        select.select([self._wake], [], [], tick if waiting else None)
        with suppress(BlockingIOError):
            while data := os.read(self._wake, 64):
                if signal.SIGTERM in data or signal.SIGINT in data:
                    self._stopping = True

    def _wanted(self, daemon: Daemon) -> bool:
        return not self._place.killed_mark(daemon.name).exists()

    def _start(self) -> bool:
        changed = False
        for daemon in self._daemons:
            late = time.monotonic() >= daemon.not_before
            if daemon.program is None and late and self._wanted(daemon) and daemon.may_start():
                daemon.begun, daemon.since = time.monotonic(), record.now()
                daemon.starts += 1
                try:
                    daemon.program = self._run(daemon)
                except (HpcaiError, OSError) as error:
                    self._failed(daemon, f"did not start: {error}")
                changed = True
        return changed

    def _run(self, daemon: Daemon) -> shell.Running:
        with (self._place.logs / f"{daemon.name}.err").open("wb") as log:
            return shell.start(daemon.argv, env=daemon.environ, cwd=daemon.folder, stdout=log, stderr=log)

    def _reap(self) -> bool:
        changed = False
        for daemon in self._daemons:
            if daemon.program is None or daemon.program.poll() is None:
                continue
            if self._wanted(daemon):
                self._failed(daemon, f"ended with status {daemon.program.returncode}")
            else:
                _log(f"{daemon.name} was killed on purpose: it stays dead until it is resumed")
                daemon.failures, daemon.not_before = 0, 0.0
            daemon.program = None
            changed = True
        self._reap_orphans()
        return changed

    def _reap_orphans(self) -> None:
        """Steps and what jobs left behind become our children: as zombies they would seem to be running."""
        own = {daemon.program.pid for daemon in self._daemons if daemon.program is not None}
        with suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid in own:
                    return
                os.waitpid(ended.si_pid, 0)

    def _failed(self, daemon: Daemon, how: str) -> None:
        steady = time.monotonic() - daemon.begun >= STEADY_S
        daemon.failures = 1 if steady else daemon.failures + 1
        delay = restart_delay_s(daemon.failures)
        daemon.not_before = time.monotonic() + delay
        _log(f"{daemon.name} {how}: again in {delay:g} s")

    def _write(self) -> None:
        running = {}
        for daemon in self._daemons:
            process = processes.find(daemon.program.pid) if daemon.program else None
            if process is not None:
                running[daemon.name] = record.Running(process, daemon.since)
        restarts = {daemon.name: max(0, daemon.starts - 1) for daemon in self._daemons}
        own = processes.find(os.getpid())
        assert own is not None
        # A full disk must not end the one process that keeps the others running.
        with suppress(OSError):
            record.save_daemons(self._place, record.Daemons(own, self._since, running, restarts))

    def _stop(self) -> None:
        """Nodes first and together, then in the reverse order of the start: each still reaches its needs."""
        nodes = [daemon for daemon in self._daemons if marks.NODE_MARK in daemon.environ]
        for daemon in nodes:
            if daemon.program is not None:
                daemon.program.terminate()
        for daemon in [*nodes, *reversed(self._daemons)]:
            if daemon.program is not None and daemon.program.poll() is None:
                daemon.program.terminate()
                _wait_or_kill(daemon.name, daemon.program)
        _log("stopped")


def _wait_or_kill(name: str, program: shell.Running) -> None:
    if not shell.ends_within(program, STOP_GRACE_S):
        _log(f"{name} did not stop within {STOP_GRACE_S:g} s: killed")
        program.kill()
        program.wait()


def restart_delay_s(failures: int) -> float:
    """How long to wait after a number of failures in a row: doubled each time, bounded."""
    return float(min(FIRST_DELAY_S * 2 ** min(failures - 1, 30), LONGEST_DELAY_S))


def daemons(where: Place, cluster: record.Cluster) -> list[Daemon]:
    """Everything that a cluster runs, in the order in which one needs the other."""
    home, sbin = cluster.home, cluster.home / "slurm" / "sbin"
    environ = {key: os.environ[key] for key in ("HOME", "USER", "LOGNAME", "TZ") if key in os.environ}
    environ |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", marks.STATE_MARK: str(where.state)}
    # PMIx and hwloc would load extensions from /usr, made for other builds of themselves.
    environ |= {"HWLOC_PLUGINS_PATH": f"{home}/run", "PMIX_MCA_mca_base_component_path": f"{home}/run"}
    socket_file = home / "run" / "munge.sock"
    munged = [f"{sbin}/munged", "--foreground", "--force", "--num-threads=2", f"--socket={socket_file}"]
    munged += [f"--key-file={home}/secrets/munge.key", f"--pid-file={home}/run/munged.pid"]
    munged += [f"--log-file={home}/log/munged.log", f"--seed-file={home}/run/munged.seed"]
    conf = str(cluster.conf)
    slurmctld = [f"{sbin}/slurmctld", "-D", "-i", "-f", conf]
    made = [Daemon("munged", munged, environ, lambda: True)]
    if cluster.accounting_port is not None:
        made = _with_accounting(made[0], home, environ, lambda: _answers(socket_file))
    made.append(Daemon("slurmctld", slurmctld, environ, lambda: _may_control(where, cluster, socket_file)))
    for node in cluster.shape.node_names():
        argv = [f"{sbin}/slurmd", "-D", "-N", node, "-f", conf, "-d", f"{sbin}/slurmstepd"]
        marked = {**environ, marks.NODE_MARK: node}
        folder = marks.spool(where.state) / node
        made.append(
            Daemon(node, argv, marked, lambda: ports.is_listening(cluster.controller_port), folder=folder)
        )
    if cluster.blob_port is not None:
        argv = azurite.argv(cluster.azurite, cluster.blob_port, where.state / "blob")
        made.insert(
            0, Daemon("blob", argv, {**environ, **azurite.environ(where.blob_credentials)}, lambda: True)
        )
    return made


def _with_accounting(
    munged: Daemon, home: Path, environ: Mapping[str, str], munge_answers: Callable[[], bool]
) -> list[Daemon]:
    """The database before munge, so that it ends last; slurmdbd after both."""
    slurmdbd = [f"{home}/accounting/sbin/slurmdbd", "-D"]
    socket_file = database.socket(home)
    return [
        Daemon("database", database.argv(home), environ, lambda: True),
        munged,
        Daemon(
            "slurmdbd",
            slurmdbd,
            {**environ, **database.environ(home)},
            lambda: munge_answers() and _answers(socket_file),
        ),
    ]


def _may_control(where: Place, cluster: record.Cluster, munge: Path) -> bool:
    """Whether slurmctld finds what it cannot do without: with no account it ends at its first start."""
    return _answers(munge) and (cluster.accounting_port is None or where.accounts.exists())


def _answers(file: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(file)) == 0


def _signals() -> int:
    """A pipe's end that becomes readable at each signal; programs started later keep the default handling."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return reading


def _log(words: str) -> None:
    with suppress(OSError):
        print(time.strftime("%Y-%m-%dT%H:%M:%S"), words, file=sys.stderr, flush=True)  # noqa: T201


def _limits() -> None:
    """Locked memory as far as this user may, which MPI and GPU libraries want; few open files to close."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 4096), hard))
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    if os.geteuid() == 0:
        with suppress(ValueError, PermissionError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _adopt_orphans() -> None:
    """Descendants whose parent has ended become this process's children, not those of process 1."""
    set_child_subreaper = 36
    ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def _let_go(log: Path) -> None:
    """Leaves the caller's terminal, session and pipes; the caller's wait ends at once."""
    # A program that the caller left running by itself would stay its child, and when it ends, its zombie.
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((null, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    os.closerange(3, 256)


def main() -> None:
    """python -m hpcai.slurm.local.supervisor CACHE NAME"""
    where = place(Path(sys.argv[1]), sys.argv[2])
    cluster = record.load_cluster(where)
    assert cluster is not None
    _let_go(where.logs / "supervisor.log")
    _limits()
    _adopt_orphans()
    Supervisor(where, cluster).run()


if __name__ == "__main__":
    main()
