"""Writes everything that a cluster's daemons read: folders, keys, links, configuration."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import secrets
from pathlib import Path

from hpcai.errors import ToolError
from hpcai.files import locked, write_whole
from hpcai.slurm.local import azurite, conf, database, ports, pyxis, record
from hpcai.slurm.local.accounting import Parts
from hpcai.slurm.local.conf import Layout, Shape
from hpcai.slurm.local.places import Place
from hpcai.slurm.local.prefix import Prefix

# A socket's path may have 107 bytes, and a step's is STATE/spool/n64/stepd.slurm.pmix.JOB.STEP.
LONGEST_HOME = 56
LONGEST_CACHE = 24
PLAIN = re.compile(r"[A-Za-z0-9._/@+-]+")


def set_up(
    where: Place,
    shape: Shape,
    prefix: Prefix,
    start_azurite: tuple[str, ...],
    standin: Path | None = None,
    accounting: Parts | None = None,
    *,
    attempt: int = 0,
) -> record.Cluster:
    """The cluster, ready to be started; job history, Blob data and scratch of an earlier life stay.

    `standin` is the folder of the stand-in for Pyxis, `accounting` that of slurmdbd and MariaDB.
    Each `attempt` gets other ports.
    """
    _folders(where, shape)
    _link(where.state / "slurm", prefix.root)
    home = _home(where)
    with locked(where.cache / "local" / ".ports.lock"):
        count = shape.nodes + 1 + shape.blob + shape.accounting
        free = ports.free_ports(count, taken=_taken(where), salt=f"{where.state} {attempt}")
        cluster = record.Cluster(
            shape=shape,
            home=home,
            prefix=prefix.root,
            slurm_version=prefix.version(),
            controller_port=free[0],
            node_ports=tuple(free[1 : shape.nodes + 1]),
            blob_port=free[shape.nodes + 1] if shape.blob else None,
            azurite=start_azurite,
            accounting_port=free[-1] if shape.accounting else None,
        )
        record.save_cluster(where, cluster)
    _configuration(where, cluster)
    _containers(where, cluster, standin)
    _secrets(where, shape)
    if accounting is not None:
        _link(where.state / "accounting", accounting.root)
        database.set_up(where, _layout(cluster), accounting)
    _forget_nodes(where)
    return cluster


def _forget_nodes(where: Place) -> None:
    """Jobs are remembered from one life to the next, drained nodes are not."""
    for file in (where.state / "state").glob("node_state*"):
        file.unlink()


def _folders(where: Place, shape: Shape) -> None:
    where.state.mkdir(parents=True, exist_ok=True)
    where.state.chmod(0o700)
    for name in ("run", "state", "log", "secrets", "blob", "dev", "killed"):
        (where.state / name).mkdir(exist_ok=True)
    # Logs of an earlier life would be taken for this one's; jobcomp.txt is the history of jobs.
    for log in [*where.logs.glob("*.log"), *where.logs.glob("*.err")]:
        log.unlink()
    where.accounts.unlink(missing_ok=True)
    for name in ("slurmdbd", "database"):
        where.killed_mark(name).unlink(missing_ok=True)
    for node in shape.node_names():
        where.killed_mark(node).unlink(missing_ok=True)
        for name in ("spool", "tmp", "scratch"):
            (where.state / name / node).mkdir(parents=True, exist_ok=True)
    for number in range(shape.gpus_per_node):
        _link(where.state / "dev" / f"nvidia{number}", Path(os.devnull))


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def _home(where: Place) -> Path:
    """The state folder itself, or a link to it in /tmp when its own path is too long or odd for Slurm."""
    if PLAIN.fullmatch(str(where.state)) and len(str(where.state)) <= LONGEST_HOME:
        return where.state
    link = alias(where)
    try:
        link.symlink_to(where.state)
    except FileExistsError as error:
        if link.lstat().st_uid != os.getuid() or not link.is_symlink() or link.readlink() != where.state:
            raise ToolError(
                f"{str(link)!r} is in the way: it stands for the long path {str(where.state)!r}.",
                next_step=f"Remove it, or set XDG_CACHE_HOME to at most {LONGEST_CACHE} plain characters.",
            ) from error
    return link


def alias(where: Place) -> Path:
    """The short path that stands for a state folder whose own path Slurm cannot use."""
    digest = hashlib.sha256(os.fsencode(where.state)).hexdigest()[:10]
    return Path("/tmp") / f"hpcai-{os.getuid()}-{digest}"


def remove_alias(where: Place) -> None:
    link = alias(where)
    if link.is_symlink() and link.lstat().st_uid == os.getuid():
        link.unlink()


def _taken(where: Place) -> set[int]:
    """Ports that this user's other clusters were set up with, running or about to."""
    taken: set[int] = set()
    for file in where.cache.glob("local/*/cluster.json"):
        cluster = record.load_cluster(Place(where.cache, file.parent.name))
        if cluster is not None and file.parent.name != where.name:
            taken |= set(cluster.ports)
    return taken


def _layout(cluster: record.Cluster) -> Layout:
    return Layout(
        home=cluster.home,
        user=_user(),
        controller_port=cluster.controller_port,
        node_ports=cluster.node_ports,
        accounting_port=cluster.accounting_port,
    )


def _configuration(where: Place, cluster: record.Cluster) -> None:
    layout = _layout(cluster)
    write_whole(where.state / "slurm.conf", conf.slurm_conf(cluster.shape, layout))
    write_whole(where.state / "gres.conf", conf.gres_conf(cluster.shape, layout))
    write_whole(where.state / "task-prolog", conf.task_prolog(layout), mode=0o755)
    write_whole(where.state / "cgroup.conf", conf.cgroup_conf(cluster.slurm_version))


def _containers(where: Place, cluster: record.Cluster, standin: Path | None) -> None:
    """A cluster of an earlier life under this name may have had them."""
    (where.state / "plugstack.conf").unlink(missing_ok=True)
    if standin is None or cluster.shape.pyxis is None:
        return
    _link(where.state / "pyxis", standin)
    (where.state / "registry").mkdir(exist_ok=True)
    text = pyxis.plugstack_conf(cluster.home, cluster.shape.pyxis)
    write_whole(where.state / "plugstack.conf", text)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError as error:
        raise ToolError(
            f"The user with number {os.getuid()} has no name on this machine, and Slurm needs one.",
            next_step="Add a line for it to /etc/passwd.",
        ) from error


def _secrets(where: Place, shape: Shape) -> None:
    (where.state / "secrets").chmod(0o700)
    key = where.state / "secrets" / "munge.key"
    if not key.exists():
        descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(128))
    if shape.blob:
        azurite.write_key(where.blob_credentials)
