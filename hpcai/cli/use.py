"""How busy the nodes of a run were, as `show` tells it to a program and to a person."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpcai.cli.words import span

if TYPE_CHECKING:
    from hpcai.runs.attempts import RunAttempt
    from hpcai.runs.record import Run

# So many names are told; of more, how many there are.
_MOST_NAMED = 8
# A shorter attempt has ended before its nodes were sampled.
_SHORT_S = 8.0


def facts_of_use(run: Run) -> dict[str, Any]:
    """What the nodes noted during the last attempt, or why they noted nothing; {} before it began."""
    from hpcai.runs.samples import read_uses, summary

    attempts = [attempt for attempt in run.attempts() if attempt.start is not None]
    if not attempts or run.task_ids():
        return {}
    last = attempts[-1]
    nodes = _nodes(last)
    found = summary(read_uses(run.paths, last.number), nodes, last.end or time.time())
    if not found["gpus"] and not _asks_for_gpus(run.resolved()):
        found["missing"].pop("gpus", None)
    why = _why_none(run, last) if not found["nodes"] else None
    return {"use": {"attempt": last.number, **found, "why_none": why}, "warnings": warnings(found)}


def _nodes(attempt: RunAttempt) -> list[str]:
    from hpcai.errors import HpcaiError
    from hpcai.units import parse_hostlist

    try:
        return parse_hostlist(attempt.node_list or "")
    except (HpcaiError, ValueError):
        return []


def _asks_for_gpus(resolved: Mapping[str, Any]) -> bool:
    parts = resolved.get("components") or [resolved]
    keys = ("gpus_per_node", "gpus", "gpus_per_task", "gpus_per_socket")
    return any(part.get(key) for part in parts for key in keys) or "gpu" in str(resolved.get("gres"))


def _why_none(run: Run, attempt: RunAttempt) -> str:
    resolved = run.resolved()
    if "samples" not in resolved:
        return "it was submitted by an hpcai that took no samples"
    if not resolved["samples"]:
        return "`samples: false` says so"
    lived_s = (attempt.end or time.time()) - (attempt.start or 0.0)
    if lived_s < _SHORT_S:
        return f"samples begin when a job has run for {_SHORT_S:g} s"
    if not run.paths.sample_files():
        return f"no node began to take them; each needs {resolved.get('interpreter')!r}"
    return "no node took any in this attempt"


def warnings(use: Mapping[str, Any]) -> list[str]:
    """What a person should look at, a sentence each."""
    found = []
    idle = use["gpus_idle"]
    if idle:
        of_all = "All" if len(idle) == use["gpus"] else f"{len(idle)} of"
        names = "" if len(idle) == use["gpus"] else f": {_names(idle)}"
        found.append(f"{of_all} {use['gpus']} GPUs were idle over {span(use['seconds'])}{names}.")
    if use["nodes"] and use["nodes_silent"]:
        found.append(f"No samples any more from {_names(use['nodes_silent'])}.")
    return found


def _names(names: Sequence[str]) -> str:
    if len(names) <= _MOST_NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more"


def lines_of_use(facts: Mapping[str, Any]) -> dict[str, str]:
    """The same as a person reads it; nothing where it does not belong to what is shown."""
    use = facts.get("use")
    if use is None:
        return {}
    if not use["nodes"]:
        return {"use": f"no samples: {use['why_none']}"}
    lines = {"GPUs": _gpus(use), "InfiniBand": _infiniband(use), "CPU": _cpu(use), "memory": _memory(use)}
    lines |= {"disk": _disk(use), "without samples": _without(use)}
    return {name: text for name, text in lines.items() if text}


def lines_of_warnings(facts: Mapping[str, Any]) -> dict[str, str]:
    """What a person should look at, a line each."""
    told = facts.get("warnings", ())
    return {f"warning{f' {number}' if number > 1 else ''}": text for number, text in enumerate(told, 1)}


def _gpus(use: Mapping[str, Any]) -> str:
    if use["gpu_busy_percent"] is None:
        return f"not measured: {use['missing']['gpus']}" if "gpus" in use["missing"] else ""
    text = f"{use['gpu_busy_percent']:.0f} % busy (median of {use['gpus']} over {span(use['seconds'])})"
    if use["gpu_memory_max_gib"] is not None:
        total = use["gpu_total_memory_gib"]
        text += f", memory at most {use['gpu_memory_max_gib']:.1f}{f' of {total:.0f}' if total else ''} GiB"
    return text + ("" if use["gpu_power_w"] is None else f", {use['gpu_power_w']:.0f} W each")


def _infiniband(use: Mapping[str, Any]) -> str:
    into, out, most = (use[f"infiniband_{key}_gb_per_s"] for key in ("in", "out", "max"))
    if into is None or out is None:
        return ""
    return f"{_rate(into)} in, {_rate(out)} out per node, at most {_rate(most)}"


def _cpu(use: Mapping[str, Any]) -> str:
    if use["cpu_percent"] is None:
        return ""
    text = f"{use['cpu_percent']:.0f} % of the nodes' cores"
    return text + ("" if use["job_cpu_cores"] is None else f", {use['job_cpu_cores']:.1f} cores of the job's")


def _memory(use: Mapping[str, Any]) -> str:
    most, total = use["memory_max_gib"], use["total_memory_gib"]
    return "" if most is None else f"at most {most:.1f}{f' of {total:.0f}' if total else ''} GiB on a node"


def _disk(use: Mapping[str, Any]) -> str:
    read, written, full = (
        use[key] for key in ("disk_read_gb_per_s", "disk_written_gb_per_s", "scratch_full_percent")
    )
    parts = (
        [] if read is None or written is None else [f"{_rate(read)} read, {_rate(written)} written per node"]
    )
    return ", ".join(parts + ([] if full is None else [f"scratch at most {full:.0f} % full"]))


def _without(use: Mapping[str, Any]) -> str:
    missing = use["nodes_without"]
    return f"{len(missing)} of {use['nodes'] + len(missing)} nodes: {_names(missing)}" if missing else ""


def _rate(gb_per_s: float) -> str:
    """`12 GB/s`, `3.4 MB/s`, `0 MB/s`."""
    if gb_per_s >= 1:
        return f"{gb_per_s:.3g} GB/s"
    return f"{gb_per_s * 1000:.2g} MB/s" if gb_per_s * 1000 < 100 else f"{gb_per_s * 1000:.0f} MB/s"
