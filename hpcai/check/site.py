"""Whether this site is ready for jobs: Slurm, scratch, the runs folder, storage, the interpreter."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hpcai.check import places
from hpcai.check.findings import Finding
from hpcai.check.storage import check_storage
from hpcai.errors import HpcaiError
from hpcai.slurm.answers import NodeInfo, PartitionInfo
from hpcai.slurm.client import SlurmClient
from hpcai.specs.site import Site
from hpcai.units import format_duration

# Without accounting, Slurm forgets an ended job after MinJobAge; what ended it must be read before.
_SHORT_MEMORY_S = 300


def check_site(site: Site, client: SlurmClient, *, environ: Mapping[str, str]) -> list[Finding]:
    """What is there and what is missing, part by part."""
    found: list[Finding] = []
    nodes: Sequence[NodeInfo] = ()
    try:
        nodes = client.nodes()
        found += _slurm(client)
        found += _partitions(client.partitions(), nodes)
        found.append(_pyxis(client))
    except HpcaiError as error:
        found.append(Finding("error", "slurm", error.what, error.next_step))
    return found + check_without_slurm(site, nodes, environ=environ)


def check_without_slurm(
    site: Site, nodes: Sequence[NodeInfo] = (), *, environ: Mapping[str, str]
) -> list[Finding]:
    """What can be seen of a site without a word from Slurm; `nodes` are those that it has told of."""
    found: list[Finding] = []
    found += places.scratch(site.scratch, nodes)
    found += _runs_folder(site.runs_root, nodes)
    found += _interpreter(nodes)
    found.append(check_storage(site, environ))
    return found


def _slurm(client: SlurmClient) -> Iterator[Finding]:
    config = client.config()
    version, name = config.get("SLURM_VERSION", "?"), config.get("ClusterName", "?")
    yield Finding("ok", "slurm", f"Slurm {version} answers (cluster {name!r}).")
    memory_s = int(config.get("MinJobAge", "300").partition(" ")[0])
    if config.get("AccountingStorageType", "").endswith("/none") and memory_s < _SHORT_MEMORY_S:
        yield Finding(
            "warning",
            "slurm",
            f"Accounting is off, and Slurm forgets a job {memory_s} s after its end (MinJobAge).",
            "How a job ended is then known only to who looks in time: raise MinJobAge in slurm.conf.",
        )


def _partitions(partitions: Sequence[PartitionInfo], nodes: Sequence[NodeInfo]) -> Iterator[Finding]:
    if not partitions:
        yield Finding("error", "partitions", "There is no partition that you may see.", "sinfo -a lists all.")
    for partition in partitions:
        names = set(partition.node_names)
        members = [node for node in nodes if node.name in names]
        away = [node for node in members if node.is_down or "DRAIN" in node.flags]
        yield Finding(
            "warning" if members and len(away) == len(members) else "ok",
            f"partition {partition.name}",
            _partition(partition, members, away),
            "sinfo -R  # tells why nodes are away" if away else None,
        )


def _partition(partition: PartitionInfo, nodes: Sequence[NodeInfo], away: Sequence[NodeInfo]) -> str:
    parts = [f"{partition.total_nodes} nodes" + (f" ({len(away)} down or drained)" if away else "")]
    if nodes:
        largest = max(nodes, key=lambda node: (node.gpus, node.cpus))
        parts.append(
            f"up to {largest.cpus} CPUs, {largest.gpus} GPUs, {largest.memory_mib / 1024:.0f} GiB each"
        )
    longest = partition.max_time_s
    parts.append(f"time limit {format_duration(longest)}" if longest is not None else "no time limit")
    return ", ".join(parts) + (", the default." if partition.is_default else ".")


def _pyxis(client: SlurmClient) -> Finding:
    if client.has_pyxis():
        return Finding("ok", "pyxis", "srun has --container-image.")
    what = "srun has no --container-image: a job with container: is refused here."
    return Finding(
        "note", "pyxis", what, "Ask who runs this Slurm for Pyxis and Enroot if you need containers."
    )


def _runs_folder(root: Path, nodes: Sequence[NodeInfo]) -> Iterator[Finding]:
    refused = places.refuses_writing(root)
    shared = None if refused else places.seen_by_nodes(places.RUNS, places.existing(root), nodes)
    yield refused or shared or Finding("ok", places.RUNS, f"{root} can be written.")


def _interpreter(nodes: Sequence[NodeInfo]) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    path = Path(sys.executable)
    shared = places.seen_by_nodes("interpreter", path, nodes)
    yield shared or Finding("ok", "interpreter", f"{path} (Python {version}).")
