"""By what network the ranks of a run talked to each other, as `show` tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcai.launch.transport import Transport
    from hpcai.runs.record import Run

_NAMES = {"nccl": "NCCL", "ucx": "UCX", "openmpi": "Open MPI", "gloo": "Gloo", "horovod": "Horovod"}
# What InfiniBand's counters show of a job that does not use it, and Ethernet's of one that uses that instead.
_NOTHING_GB_PER_S = 0.01
_MUCH_GB_PER_S = 0.05
_LONG_ENOUGH_S = 60.0


def with_transport(run: Run, facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of a run's use, and beside them what the logs of the same attempt tell of its transport."""
    if not facts:
        return facts
    from hpcai.launch.transport import read_logs

    attempt = facts["use"]["attempt"]
    found = read_logs(run.paths.logs(attempt) or [run.paths.batch_log])
    resolved = run.resolved()
    is_expected = resolved.get("nodes", 1) > 1 and (
        _has_infiniband(resolved) or facts["use"]["infiniband_ports"] > 0
    )
    transport = {"infiniband_is_expected": is_expected, "libraries": [_as_json(one) for one in found]}
    warnings = [*facts["warnings"], *(_warnings(found, facts["use"]) if is_expected else ())]
    return {**facts, "transport": transport, "warnings": warnings}


def _has_infiniband(resolved: Mapping[str, Any]) -> bool:
    """Whether the job's VM size has InfiniBand; that of its first part, where it has several."""
    profile = resolved.get("profile")
    if not isinstance(profile, str):
        return False
    from hpcai.catalog.sizes import find_name, vm_sizes
    from hpcai.errors import HpcaiError

    try:
        sizes = vm_sizes()
    except HpcaiError:
        return False
    name = find_name(profile.partition("+")[0], sizes)
    return name is not None and bool(sizes[name].infiniband_rails)


def _as_json(one: Transport) -> dict[str, Any]:
    return {
        "library": one.library,
        "version": one.version,
        "network": one.network,
        "between_nodes": list(one.between),
        "within_a_node": list(one.within),
        "evidence": one.evidence,
    }


def _warnings(found: Sequence[Transport], use: Mapping[str, Any]) -> list[str]:
    from hpcai.launch.transport import deciding

    decisive = deciding(found)
    if decisive is not None and decisive.network == "sockets":
        how = ", ".join(decisive.between)
        return [f"The nodes have InfiniBand, and {_NAMES[decisive.library]} ran on sockets ({how})."]
    most, into = use["infiniband_max_gb_per_s"], use["ethernet_in_gb_per_s"]
    is_idle = most is not None and most < _NOTHING_GB_PER_S and use["seconds"] >= _LONG_ENOUGH_S
    if is_idle and into is not None and into > _MUCH_GB_PER_S:
        return [f"InfiniBand carried nothing, and Ethernet {into:.2g} GB/s into each node."]
    return []


def lines_of_transport(facts: Mapping[str, Any]) -> dict[str, str]:
    """The same as a person reads it; nothing where there is nothing to tell."""
    transport = facts.get("transport")
    if transport is None:
        return {}
    told = [_line(one) for one in transport["libraries"]]
    if not told and transport["infiniband_is_expected"]:
        told = ["not told by the logs; `env: {NCCL_DEBUG: INFO}` lets NCCL tell it"]
    return {"transport": "; ".join(told)} if told else {}


def _line(one: Mapping[str, Any]) -> str:
    name = _NAMES[one["library"]] + (f" {one['version']}" if one["version"] else "")
    parts = [", ".join(one["between_nodes"])] if one["between_nodes"] else []
    if one["within_a_node"]:
        parts.append(f"{', '.join(one['within_a_node'])} within a node")
    return f"{name} by {' and '.join(parts)}"
