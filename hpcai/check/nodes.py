"""A small task on a node of each partition, and what it tells."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpcai.check import probe
from hpcai.check.findings import Finding
from hpcai.check.job import Surroundings
from hpcai.check.probe import Probe
from hpcai.errors import HpcaiError
from hpcai.slurm.answers import NodeInfo, PartitionInfo
from hpcai.slurm.client import SlurmClient

# One node's answer; its storage and Azure's metadata service may be slow.
WITHIN_S = 40.0
# A node that is powered down takes minutes, and money.
_ASLEEP = {"POWERED_DOWN", "POWERING_DOWN", "POWERING_UP", "DRAIN", "NOT_RESPONDING", "MAINT", "RESERVED"}


@dataclass(frozen=True)
class Probed:
    """What nodes told, by partition, and what follows from it."""

    probes: Mapping[str, Probe] = field(default_factory=dict)
    findings: Sequence[Finding] = ()


def ask_nodes(client: SlurmClient, around: Surroundings) -> Probed:
    """One task on one idle node of each partition that has one; nothing is left in the queue."""
    site, told = around.site, around.told
    text = probe.script(Path(sys.executable), site.runs_root, site.scratch)
    probes: dict[str, Probe] = {}
    found: list[Finding] = []
    asked: dict[str, Probe] = {}
    silent: set[str] = set()
    for partition in told.partitions or ():
        node = awake(partition, [node for node in told.nodes or () if node.name not in silent])
        if node is None:
            what = "No node of it is idle and switched on: none was asked."
            fix = f"srun -p {partition.name} -N1 true  # starts one; then ask again"
            found.append(Finding("node-unasked", "warning", f"partition {partition.name}", what, fix))
            continue
        if node not in asked:
            try:
                answer = client.run_on(node, text, partition=partition.name, within_s=WITHIN_S)
                asked[node] = probe.probe_of(answer)
            except (HpcaiError, ValueError) as error:
                silent.add(node)
                what = f"A task of one step gave no answer: {error}".splitlines()[0]
                fix = f"srun -w {node} -p {partition.name} hostname  # tells"
                found.append(Finding("node-unasked", "warning", f"node {node}", what, fix))
                continue
            found += probe.check_probe(asked[node], node, around)
        probes[partition.name] = asked[node]
    return Probed(probes, found)


def awake(partition: PartitionInfo, nodes: Sequence[NodeInfo]) -> str | None:
    """The first node of a partition that can run a task at once."""
    names = set(partition.node_names)
    idle = [node for node in nodes if node.name in names and node.state in ("IDLE", "MIXED")]
    return next((node.name for node in idle if not node.flags & _ASLEEP), None)
