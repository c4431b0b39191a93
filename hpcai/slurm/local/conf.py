"""The configuration files of an embedded cluster, as text (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shape:
    """What a user asks for."""

    nodes: int
    cpus_per_node: int
    gpus_per_node: int
    memory_mib_per_node: int
    blob: bool
    pyxis: str | None = None
    """The version of Pyxis that the stand-in plays; None: a cluster without containers."""
    accounting: bool = False

    def node_names(self) -> list[str]:
        return [f"n{number}" for number in range(1, self.nodes + 1)]


@dataclass(frozen=True)
class Layout:
    """Where a cluster lives: `home` is its state folder by a path that Slurm and sockets can take."""

    home: Path
    user: str
    controller_port: int
    node_ports: tuple[int, ...]
    accounting_port: int | None = None
    """slurmdbd's; None: a cluster without accounting."""


# slurmdbd's database, and the user that it comes as.
DATABASE = "slurm"
# The same for every cluster.
_BEHAVIOUR = (
    "ProctrackType=proctrack/linuxproc",
    "MailProg=/bin/true",
    "TaskPlugin=task/none",
    "MpiDefault=none",
    # Asked for IPv4 alone, glibc finds no address to listen on where loopback is the only network.
    "CommunicationParameters=EnableIPv6",
    "SelectType=select/cons_tres",
    "SelectTypeParameters=CR_Core_Memory",
    # Nodes may have more processors and memory than the machine.
    "SlurmdParameters=config_overrides",
    "GresTypes=gpu",
    "PropagateResourceLimitsExcept=MEMLOCK",
    "ReturnToService=2",
    "SlurmdTimeout=5",
    # A silent node is given up after 15 s instead of 25, a busy one (load 10 per core) is not.
    "MessageTimeout=5",
    # As on most clusters. srun waits 2 s longer for a step whose node is gone, and must not end the job as
    # failed before the node's silence has been noticed and the job put back into the queue.
    "KillWait=30",
    "MinJobAge=3600",
    "JobRequeue=1",
    "SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,bf_resolution=1",
    "PriorityType=priority/multifactor",
    "PreemptType=preempt/partition_prio",
    "PreemptMode=REQUEUE",
    "JobAcctGatherType=jobacct_gather/linux",
    "JobAcctGatherFrequency=task=2",
    "JobCompType=jobcomp/filetxt",
    "ScronParameters=enable",
)
_PARTITIONS = (
    "PartitionName=DEFAULT Nodes=ALL MaxTime=INFINITE State=UP",
    "PartitionName=main Default=YES PriorityTier=10 PreemptMode=REQUEUE",
    "PartitionName=urgent PriorityTier=100 PreemptMode=OFF",
)


def slurm_conf(shape: Shape, layout: Layout) -> str:
    """slurm.conf: one controller and all nodes on this machine, scheduling at once, failures seen soon."""
    memory = f"DefMemPerCPU={max(1, shape.memory_mib_per_node // shape.cpus_per_node)}"
    lines = [*_daemons(layout), *_folders(layout), *_BEHAVIOUR, memory, *_accounting(layout)]
    lines += [*_nodes(shape, layout), *_PARTITIONS]
    return "\n".join(lines) + "\n"


def _daemons(layout: Layout) -> list[str]:
    return [
        "ClusterName=local",
        # The machine's own name may not be resolvable.
        "SlurmctldHost=localhost(127.0.0.1)",
        f"SlurmctldPort={layout.controller_port}",
        f"SlurmUser={layout.user}",
        f"SlurmdUser={layout.user}",
        "AuthType=auth/munge",
        "CredType=cred/munge",
        # A requeued job waits until its old credential has expired: 120 s by default.
        f"AuthInfo=socket={layout.home}/run/munge.sock,cred_expire=5",
    ]


def _folders(layout: Layout) -> list[str]:
    home = layout.home
    return [
        f"PluginDir={home}/slurm/lib/slurm",
        f"StateSaveLocation={home}/state",
        f"SlurmdSpoolDir={home}/spool/%n",
        f"SlurmctldPidFile={home}/run/slurmctld.pid",
        f"SlurmdPidFile={home}/run/%n.pid",
        f"SlurmctldLogFile={home}/log/slurmctld.log",
        f"SlurmdLogFile={home}/log/%n.log",
        # PMIx keeps a folder per step there: nodes that share /tmp collide.
        f"TmpFS={home}/tmp/%n",
        f"TaskProlog={home}/task-prolog",
        f"JobCompLoc={home}/log/jobcomp.txt",
    ]


def _accounting(layout: Layout) -> list[str]:
    """Without a word of it Slurm keeps no accounts."""
    if layout.accounting_port is None:
        return []
    return [
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=127.0.0.1",
        f"AccountingStoragePort={layout.accounting_port}",
        # Else clients look for munge's socket in /run.
        f"AccountingStoragePass={layout.home}/run/munge.sock",
        "AccountingStorageTRES=gres/gpu",
        "AccountingStorageEnforce=associations,limits,qos",
    ]


def slurmdbd_conf(layout: Layout, password: str) -> str:
    """slurmdbd.conf: a secret, because it holds the database's password."""
    home = layout.home
    lines = [
        "AuthType=auth/munge",
        f"AuthInfo=socket={home}/run/munge.sock",
        "DbdHost=localhost",
        "DbdAddr=127.0.0.1",
        f"DbdPort={layout.accounting_port}",
        f"SlurmUser={layout.user}",
        f"PluginDir={home}/accounting/lib/slurm",
        f"PidFile={home}/run/slurmdbd.pid",
        f"LogFile={home}/log/slurmdbd.log",
        "StorageType=accounting_storage/mysql",
        # By this name, MariaDB's library takes the socket that MYSQL_UNIX_PORT names.
        "StorageHost=localhost",
        f"StorageUser={DATABASE}",
        f"StoragePass={password}",
        f"StorageLoc={DATABASE}",
    ]
    return "\n".join(lines) + "\n"


def database_sql(password: str) -> str:
    """What MariaDB does at each start: nobody but slurmdbd gets in, by this password."""
    user = f"{DATABASE}@localhost"
    lines = [
        f"CREATE DATABASE IF NOT EXISTS {DATABASE};",
        f"CREATE OR REPLACE USER {user} IDENTIFIED BY '{password}';",
        f"GRANT ALL ON {DATABASE}.* TO {user};",
        "DROP USER IF EXISTS root@localhost;",
    ]
    return "\n".join(lines) + "\n"


def _nodes(shape: Shape, layout: Layout) -> list[str]:
    gpus = f" Gres=gpu:{shape.gpus_per_node}" if shape.gpus_per_node else ""
    cpus = shape.cpus_per_node
    size = f"CPUs={cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1"
    default = f"NodeName=DEFAULT {size} RealMemory={shape.memory_mib_per_node}{gpus} State=UNKNOWN"
    named = zip(shape.node_names(), layout.node_ports, strict=True)
    return [default] + [
        f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port}" for name, port in named
    ]


def gres_conf(shape: Shape, layout: Layout) -> str:
    """gres.conf: slurmd drops GPUs without a device file, so each has one."""
    if not shape.gpus_per_node:
        return ""
    return (
        f"NodeName=n[1-{shape.nodes}] Name=gpu File={layout.home}/dev/nvidia[0-{shape.gpus_per_node - 1}]\n"
    )


def task_prolog(layout: Layout) -> str:
    """A script whose output becomes each task's environment, where the job has not set the same.

    Open MPI names its shared memory by host and local rank: nodes on one host would write into each other's.
    Nodes meet over loopback, which MPI and Gloo would leave out: it may be the only network.
    """
    nodes = f"{layout.home}/tmp"
    folders = ("OMPI_MCA_btl_vader_backing_directory", "OMPI_MCA_btl_sm_backing_directory")
    networks = ("OMPI_MCA_btl_tcp_if_include", "GLOO_SOCKET_IFNAME", "HOROVOD_GLOO_IFACE")
    # A job's script is a task too, of the first node: what it was given there goes on to the tasks of all.
    lines = [
        f'case "${{{name}-}}" in ""|"{nodes}/"*) echo "export {name}={nodes}/$SLURMD_NODENAME" ;; esac'
        for name in folders
    ]
    lines += [f'[ -n "${{{name}-}}" ] || echo "export {name}=lo"' for name in networks]
    return "\n".join(["#!/bin/sh", *lines]) + "\n"


def cgroup_conf(slurm_version: str) -> str:
    """cgroup.conf: no control groups, which need root; how to say so changed from version to version.

    The plugin cgroup/v1 touches nothing until a limit is asked of it; the one for v2 wants systemd and root.
    """
    major, minor = (int(part) for part in slurm_version.split(".")[:2])
    if (major, minor) < (22, 5):
        return "CgroupAutomount=no\n"
    return "CgroupPlugin=cgroup/v1\n" if (major, minor) < (24, 5) else "CgroupPlugin=disabled\n"
