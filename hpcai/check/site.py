"""Whether this site is ready for jobs: Slurm, scratch, the runs folder, storage, the interpreter."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hpcai.check import places
from hpcai.check.findings import Finding
from hpcai.errors import HpcaiError, UnreachableError
from hpcai.slurm.answers import NodeInfo, PartitionInfo
from hpcai.slurm.client import SlurmClient
from hpcai.specs.site import Site
from hpcai.units import format_duration

# Without accounting, Slurm forgets an ended job after MinJobAge; what ended it must be read before.
_SHORT_MEMORY_S = 300
ANSWER_TIMEOUT_S = 5.0


def check_site(site: Site, client: SlurmClient, *, environ: Mapping[str, str]) -> list[Finding]:
    """What is there and what is missing, part by part."""
    found: list[Finding] = []
    nodes: Sequence[NodeInfo] = ()
    try:
        nodes = client.nodes()
        found += _slurm(client)
        found += _partitions(client.partitions(), nodes)
    except HpcaiError as error:
        found.append(Finding("error", "slurm", error.what, error.next_step))
    found.append(_scratch(site))
    found += _runs_root(site.runs_root, nodes)
    found += _interpreter(nodes)
    found.append(_storage(site, environ))
    return found


def _slurm(client: SlurmClient) -> Iterator[Finding]:
    config = client.config()
    version, name = config.get("SLURM_VERSION", "?"), config.get("ClusterName", "?")
    yield Finding("ok", "slurm", f"Slurm {version} answers (cluster {name!r})")
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
    return ", ".join(parts) + (", the default" if partition.is_default else "")


def _scratch(site: Site) -> Finding:
    if site.scratch is None:
        return Finding(
            "ok",
            "scratch",
            "HPCAI_SCRATCH is not set: each takes the first of /mnt/nvme, /nvme, /mnt/resource, /mnt",
        )
    return Finding("ok", "scratch", f"{site.scratch} on each node (HPCAI_SCRATCH)")


def _runs_root(root: Path, nodes: Sequence[NodeInfo]) -> Iterator[Finding]:
    where = "runs folder"
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Finding(
            "error",
            where,
            f"{str(root)!r} cannot be written: {str(existing)!r} is not a folder that you may write to.",
            "export HPCAI_RUNS_ROOT=FOLDER names another place; all nodes must see it.",
        )
        return
    shared = places.seen_by_nodes(where, existing, nodes)
    yield shared or Finding("ok", where, f"{root} can be written")


def _interpreter(nodes: Sequence[NodeInfo]) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    path = Path(sys.executable)
    shared = places.seen_by_nodes("interpreter", path, nodes)
    yield shared or Finding("ok", "interpreter", f"{path} (Python {version})")


def _storage(site: Site, environ: Mapping[str, str]) -> Finding:
    where = "storage"
    if site.storage_account is None and site.storage_endpoint is None:
        return Finding("ok", where, "no account is set (AZURE_STORAGE_ACCOUNT); azure:// needs one")
    from hpcai.staging.credentials import find_credentials

    endpoint = site.storage_endpoint or f"https://{site.storage_account}.blob.core.windows.net"
    try:
        credentials = find_credentials(environ)
        _require_answer(endpoint)
    except HpcaiError as error:
        return Finding("error", where, error.what, error.next_step)
    return Finding("ok", where, f"{endpoint} answers, to be opened by {_KINDS[type(credentials).__name__]}")


_KINDS = {"AccountKey": "an account key", "Sas": "a SAS", "Identity": "your Azure identity"}


def _require_answer(endpoint: str) -> None:
    """Raises UnreachableError when nothing speaks HTTP there; a refusal is an answer."""
    try:
        with urllib.request.urlopen(f"{endpoint}/?comp=list", timeout=ANSWER_TIMEOUT_S):
            pass
    except urllib.error.HTTPError:
        return
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise UnreachableError(
            f"{endpoint} does not answer: {reason}",
            next_step="Correct HPCAI_STORAGE_ENDPOINT or AZURE_STORAGE_ACCOUNT, or start what listens there.",
        ) from error
