"""The assertions of docs/fidelity.md: what stands in for a real part here, held to a real site."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from hpcai.catalog.sizes import find_name, vm_sizes
from hpcai.check import places
from hpcai.check.findings import Finding
from hpcai.check.job import Surroundings
from hpcai.check.probe import Probe
from hpcai.slurm.vm_size import size_of

Probes = Mapping[str, Probe]
TESTED = ((22, 5), (24, 11), (26, 5))
"""Releases of Slurm that hpcai's own tests run on."""


class _Unseen(Exception):
    """Why an assertion cannot be held to this site now."""


class _Wrong(Exception):
    """How an assertion does not hold here."""


@dataclass(frozen=True)
class Assertion:
    """One thing that a stand-in shows and a real site must show too."""

    id: str
    what: str
    look: Callable[[Surroundings, Probes], str]
    """What was seen. Raises _Wrong, _Unseen."""


def assertions_of(around: Surroundings, probes: Probes) -> Iterator[Finding]:
    """A finding for each assertion: it holds, it does not, or why nobody could tell."""
    for one in ASSERTIONS:
        where = f"fidelity {one.id}"
        try:
            yield Finding("fidelity", "ok", where, one.look(around, probes))
        except _Wrong as wrong:
            yield Finding("fidelity", "warning", where, f"Not as {one.what}: {wrong}", _READ)
        except _Unseen as unseen:
            yield Finding("fidelity", "note", where, f"Not looked at: {unseen}", _READ)


_READ = "docs/fidelity.md tells what hangs on it."


def _release(around: Surroundings, _: Probes) -> str:
    version = around.told.version
    if version is None:
        raise _Unseen("the release of Slurm is not known.")
    named = f"Slurm {version[0]}.{version[1]:02d}"
    if version not in TESTED:
        raise _Wrong(f"{named} is none of those that were tested.")
    return f"{named} was tested."


def _machines(around: Surroundings, _: Probes) -> str:
    hosts = [node.hostname or node.name for node in around.sight.away()]
    unknown = []
    for host in hosts[:20]:
        try:
            socket.getaddrinfo(host, None)
        except OSError:
            unknown.append(host)
    # Nodes that are switched off have no address yet.
    if unknown and len(unknown) == len(hosts[:20]):
        raise _Unseen(f"no name of a node is known here, such as {unknown[0]!r}; they may be switched off.")
    return f"{len(hosts[:20]) - len(unknown)} of {len(hosts[:20])} names of nodes are known here."


def _cgroups(around: Surroundings, _: Probes) -> str:
    config = _config(around)
    plugins = config.get("TaskPlugin", "")
    if "affinity" not in plugins:
        raise _Wrong(f"TaskPlugin is {plugins!r}: srun --cpu-bind is ignored and tasks run unpinned.")
    track = config.get("ProctrackType", "")
    if "cgroup" not in track:
        raise _Wrong(f"ProctrackType is {track!r}: what a job starts may outlive it.")
    return f"{track}, {plugins}."


def _requeue(around: Surroundings, _: Probes) -> str:
    value = _config(around).get("JobRequeue", "1")
    if value == "0":
        raise _Wrong("JobRequeue is 0: a job that loses a node ends, unless its file says requeue: true.")
    return "A job that loses a node is requeued."


def _accounting(around: Surroundings, _: Probes) -> str:
    if around.told.associations is None:
        kind = _config(around).get("AccountingStorageType", "?")
        raise _Wrong(f"accounting does not answer (AccountingStorageType {kind}).")
    return f"Accounting answers: {len(around.told.associations)} accounts of yours."


def _mpi(around: Surroundings, probes: Probes) -> str:
    here = around.told.mpi_plugins
    lists = {name: probe.one("mpi") for name, probe in _asked(probes).items()}
    known = {name: set(text.split()) for name, text in lists.items() if text}
    if here is None or not known:
        raise _Unseen("the nodes have no srun that lists its plugins.")
    lacking = [name for name, plugins in known.items() if "pmix" in here and "pmix" not in plugins]
    if lacking:
        raise _Wrong(f"this machine lists pmix, and nodes of {', '.join(lacking)} do not.")
    return f"{len(known)} partitions list what this machine lists."


def _disks(_: Surroundings, probes: Probes) -> str:
    kinds = {name: _kind_of_scratch(probe) for name, probe in _asked(probes).items()}
    bad = [
        f"{name}: {kind}"
        for name, kind in kinds.items()
        if kind is None or kind in (*places.FILES, "nfs", "nfs4", "lustre")
    ]
    if bad:
        raise _Wrong(f"scratch is no disk of the node's own ({'; '.join(bad)}).")
    return (
        f"scratch is a disk of the node's own ({', '.join(sorted({str(kind) for kind in kinds.values()}))})."
    )


def _gpus(around: Surroundings, probes: Probes) -> str:
    said = []
    for name, probe, size_name in _sized(around, probes):
        has, wanted = len(probe.every("gpu")), vm_sizes()[size_name].gpus
        if wanted is not None and has != int(wanted) and wanted >= 1:
            raise _Wrong(f"a node of {name} shows {has} GPUs, and {size_name} has {wanted:g}.")
        said.append(f"{name}: {has}")
    return f"GPUs as the sizes say ({', '.join(said)})."


def _fabric(around: Surroundings, probes: Probes) -> str:
    said = []
    for name, probe, size_name in _sized(around, probes):
        size = vm_sizes()[size_name]
        up = [line for line in probe.ports if " 4: ACTIVE" in line]
        wanted = size.infiniband_rails
        if wanted and len(up) < wanted:
            raise _Wrong(f"a node of {name} has {len(up)} active ports, and {size_name} has {wanted}.")
        said.append(f"{name}: {len(up)}")
    return f"InfiniBand ports as the sizes say ({', '.join(said)})."


def _sizes(around: Surroundings, probes: Probes) -> str:
    said = []
    for name, probe in _asked(probes).items():
        azure = probe.one("vm_size")
        if azure is None:
            raise _Unseen(f"Azure's metadata service did not answer on a node of {name}.")
        names = {one.name: set(one.node_names) for one in around.told.partitions or ()}
        members = [node for node in around.told.nodes or () if node.name in names.get(name, ())]
        found = size_of(name, around.site.partitions, members)
        if found.names and azure not in found.names:
            raise _Wrong(
                f"Azure says {azure} of a node of {name}, and {found.how}: {', '.join(found.names)}."
            )
        said.append(f"{name}: {azure}")
    return f"Azure and Slurm agree ({', '.join(said)})."


def _address(_: Surroundings, probes: Probes) -> str:
    for name, probe in _asked(probes).items():
        text = probe.one("launch_address")
        if text is None:
            raise _Unseen("srun told the task no SLURM_LAUNCH_NODE_IPADDR.")
        try:
            is_loopback = ipaddress.ip_address(text).is_loopback
        except ValueError as error:
            raise _Wrong(f"SLURM_LAUNCH_NODE_IPADDR is {text!r}.") from error
        if is_loopback or (probe.one("own_address") or "127.").startswith("127."):
            raise _Wrong(f"a node of {name} knows itself or the launcher by a loopback address.")
    return "Nodes know themselves and the launching machine by addresses that others reach."


def _containers(around: Surroundings, probes: Probes) -> str:
    if not around.told.srun_takes_containers:
        raise _Unseen("srun takes no containers here.")
    lacking = [name for name, probe in _asked(probes).items() if probe.one("enroot") is None]
    if lacking:
        raise _Wrong(f"nodes of {', '.join(lacking)} have no Enroot.")
    return "srun takes containers, and nodes have Enroot; that one starts was not tried."


def _config(around: Surroundings) -> Mapping[str, str]:
    if around.told.config is None:
        raise _Unseen("slurmctld did not tell its settings.")
    return around.told.config


def _asked(probes: Probes) -> Probes:
    if not probes:
        raise _Unseen("no node was asked (hpcai check --nodes).")
    return probes


def _sized(around: Surroundings, probes: Probes) -> Iterator[tuple[str, Probe, str]]:
    known = vm_sizes()
    found = False
    for name, probe in _asked(probes).items():
        said = probe.one("vm_size") or around.site.partitions.get(name)
        size = find_name(said, known) if said else None
        if size is not None:
            found = True
            yield name, probe, size
    if not found:
        raise _Unseen("nobody has told the VM size of a node that was asked.")


def _kind_of_scratch(probe: Probe) -> str | None:
    folder = probe.scratch
    kinds = {}
    for line in probe.every("mounted"):
        _, target, kind = line.rsplit(" ", 2)
        kinds[target] = kind
    holding = [target for target in kinds if folder and f"{folder}/".startswith(f"{target.rstrip('/')}/")]
    return kinds[max(holding, key=len)] if holding else None


def _never(why: str) -> Callable[[Surroundings, Probes], str]:
    def look(_: Surroundings, __: Probes) -> str:
        raise _Unseen(why)

    return look


ASSERTIONS = (
    Assertion("slurm-release", "a release of Slurm that the tests run on", _release),
    Assertion("machines", "nodes that are machines with names of their own", _machines),
    Assertion("cgroups", "tasks that are held to their cores, and end with their job", _cgroups),
    Assertion("requeue", "a job that loses a node and goes on", _requeue),
    Assertion("accounting", "accounts and QOS that Slurm knows", _accounting),
    Assertion("pmix-on-nodes", "nodes with the PMIx that this machine lists", _mpi),
    Assertion("scratch", "a disk of each node's own", _disks),
    Assertion("vm-size", "nodes of the VM size that is taken for granted", _sizes),
    Assertion("gpus", "as many GPUs as the VM size has", _gpus),
    Assertion("infiniband", "as many active InfiniBand ports as the VM size has", _fabric),
    Assertion("addresses", "nodes that reach each other by Ethernet", _address),
    Assertion("containers", "Pyxis and Enroot on the nodes", _containers),
    Assertion(
        "allreduce",
        "an all-reduce near Azure's figures",
        _never("it takes two whole nodes; run NCCL's tests."),
    ),
    Assertion("throttling", "storage that throttles", _never("only load shows it.")),
    Assertion(
        "stale-sockets",
        "nodes that start again without old sockets",
        _never("a node would have to be restarted."),
    ),
    Assertion(
        "import", "a CycleCloud server that takes the template", _never("hpcai cluster does not ask it yet.")
    ),
    Assertion("accuracy", "75.9 % top-1 with ImageNet", _never("it takes a whole training.")),
)
