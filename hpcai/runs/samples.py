"""How busy the nodes of a run were, from what a small process on each has noted."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcai.errors import StageError
from hpcai.runs import jsonl
from hpcai.runs.jsonl import Record, instant_of
from hpcai.runs.paths import RunPaths

# So much of a node's file is read, which is about an hour; what `show` tells stays quick after weeks.
TAIL_BYTES = 300_000
IDLE_PERCENT = 5.0
# Programs need their time before the first step.
IDLE_AFTER_S = 300.0
SILENT_AFTER_S = 60.0


@dataclass(frozen=True)
class NodeUse:
    """What one node noted during one attempt, as far as it was read; seconds are UTC."""

    node: str
    samples: tuple[Record, ...]
    first_s: float | None = None
    last_s: float | None = None
    every_s: float = 10.0
    gpus: tuple[str, ...] = ()
    """Index and name of each."""
    gpu_total_memory_gib: tuple[float | None, ...] = ()
    total_memory_gib: float | None = None
    infiniband_ports: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    """What could not be measured, and why."""


def read_uses(paths: RunPaths, attempt: int, tail_bytes: int = TAIL_BYTES) -> list[NodeUse]:
    """What each node noted during an attempt, by node; a file that cannot be read is left out."""
    found = []
    for path in paths.sample_files():
        use = _read_use(path, attempt, tail_bytes)
        if use is not None:
            found.append(use)
    return found


def _read_use(path: Path, attempt: int, tail_bytes: int) -> NodeUse | None:
    try:
        first, last = jsonl.read_ends(path, tail_bytes)
    except StageError:
        return None
    told: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for one in (*first, *last):
        if "event" in one and one.get("attempt") == attempt:
            told |= one
            missing |= one.get("missing") or {}
    # Between the two there may be days.
    mine = (one for one in last if "event" not in one and one.get("attempt") == attempt)
    samples = tuple(one for one in mine if instant_of(one) is not None)
    if not told and not samples:
        return None
    times = [float(one["time"]) for one in samples]
    began = instant_of(told)
    return NodeUse(
        path.stem,
        samples,
        first_s=times[0] if times else began,
        last_s=times[-1] if times else began,
        every_s=_number(told.get("every_s")) or 10.0,
        gpus=tuple(map(str, told.get("gpus") or ())),
        gpu_total_memory_gib=tuple(map(_number, told.get("gpu_total_memory_gib") or ())),
        total_memory_gib=_number(told.get("total_memory_gib")),
        infiniband_ports=tuple(map(str, told.get("infiniband_ports") or ())),
        missing=missing,
    )


def summary(uses: Sequence[NodeUse], nodes: Sequence[str], until_s: float) -> dict[str, Any]:
    """What all nodes together did, with the unit in each name; None is what nobody measured.

    `nodes` are those of the attempt, `until_s` is its end, or now. Of a card, a node's network and processors
    means over the time count, of memory the most. In that of all cards, the median of them counts.
    """
    begun = [use for use in uses if use.samples]
    seconds = max((use.last_s - use.first_s for use in begun if use.last_s and use.first_s), default=0.0)
    cards = list(_cards(begun))
    busy = [card.busy_percent for card in cards if card.busy_percent is not None]
    return {
        "nodes": len(begun),
        "nodes_without": [node for node in nodes if node not in {use.node for use in begun}],
        "nodes_silent": [use.node for use in begun if _is_silent(use, until_s)],
        "seconds": round(seconds, 1),
        "gpus": len(cards),
        "gpu_busy_percent": round(statistics.median(busy), 1) if busy else None,
        "gpu_memory_max_gib": _most(card.memory_gib for card in cards),
        "gpu_total_memory_gib": _most(total for use in begun for total in use.gpu_total_memory_gib),
        "gpu_power_w": _mean(card.power_w for card in cards),
        "gpus_idle": [card.name for card in cards if card.is_idle] if seconds >= IDLE_AFTER_S else [],
        "infiniband_ports": max((len(use.infiniband_ports) for use in uses), default=0),
        **_networks(begun),
        "cpu_percent": _mean_of(begun, "cpu_percent"),
        "job_cpu_cores": _sum(_node_means(begun, "job_cpu_cores")),
        "memory_max_gib": _most(value for use in begun for value in _values(use, "memory_gib")),
        "job_memory_max_gib": _most(value for use in begun for value in _values(use, "job_memory_gib")),
        "total_memory_gib": _most(use.total_memory_gib for use in begun),
        "disk_read_gb_per_s": _mean_of(begun, "disk_read_gb_per_s"),
        "disk_written_gb_per_s": _mean_of(begun, "disk_written_gb_per_s"),
        "scratch_full_percent": _most(v for use in begun for v in _values(use, "scratch_full_percent")),
        "missing": _missing(uses),
    }


def _missing(uses: Iterable[NodeUse]) -> dict[str, str]:
    """What some node could not measure; the first node's reason stands for all."""
    found: dict[str, str] = {}
    for use in uses:
        for what, why in use.missing.items():
            found.setdefault(what, f"{use.node}: {why}")
    return found


def _is_silent(use: NodeUse, until_s: float) -> bool:
    return use.last_s is not None and until_s - use.last_s > SILENT_AFTER_S + 2 * use.every_s


@dataclass(frozen=True)
class _CardUse:
    name: str
    busy_percent: float | None
    memory_gib: float | None
    power_w: float | None

    @property
    def is_idle(self) -> bool:
        return self.busy_percent is not None and self.busy_percent < IDLE_PERCENT


def _cards(uses: Iterable[NodeUse]) -> Iterator[_CardUse]:
    for use in uses:
        count = max((len(_list(one, "gpu_busy_percent")) for one in use.samples), default=0)
        for index in range(count):
            name = use.gpus[index].partition(" ")[0] if index < len(use.gpus) else str(index)
            busy, memory, power = (
                [value for one in use.samples if (value := _at(one, key, index)) is not None]
                for key in ("gpu_busy_percent", "gpu_memory_gib", "gpu_power_w")
            )
            yield _CardUse(f"{use.node}:{name}", _mean(busy), _most(memory), _mean(power))


def _networks(uses: Sequence[NodeUse]) -> dict[str, float | None]:
    """Of InfiniBand all ports of a node together: the mean of the nodes' means, and the most of any."""
    into, out = ([_totals(use, f"infiniband_{way}_gb_per_s") for use in uses] for way in ("in", "out"))
    return {
        "infiniband_in_gb_per_s": _mean(_mean(totals) for totals in into),
        "infiniband_out_gb_per_s": _mean(_mean(totals) for totals in out),
        "infiniband_max_gb_per_s": _most(total for totals in (*into, *out) for total in totals),
        "ethernet_in_gb_per_s": _mean_of(uses, "ethernet_in_gb_per_s"),
        "ethernet_out_gb_per_s": _mean_of(uses, "ethernet_out_gb_per_s"),
    }


def _totals(use: NodeUse, key: str) -> list[float]:
    found = []
    for one in use.samples:
        values = [value for value in map(_number, _list(one, key)) if value is not None]
        if values:
            found.append(sum(values))
    return found


def _mean_of(uses: Iterable[NodeUse], key: str) -> float | None:
    return _mean(_node_means(uses, key))


def _node_means(uses: Iterable[NodeUse], key: str) -> list[float]:
    return [mean for use in uses if (mean := _mean(_values(use, key))) is not None]


def _values(use: NodeUse, key: str) -> Iterator[float]:
    for one in use.samples:
        value = _number(one.get(key))
        if value is not None:
            yield value


def _list(record: Record, key: str) -> list[Any]:
    value = record.get(key)
    return value if isinstance(value, list) else []


def _at(record: Record, key: str, index: int) -> float | None:
    values = _list(record, key)
    return _number(values[index]) if index < len(values) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return float(f"{statistics.fmean(found):.4g}") if found else None


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _sum(values: Sequence[float]) -> float | None:
    return round(sum(values), 2) if values else None
