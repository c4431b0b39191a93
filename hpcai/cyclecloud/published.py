"""What a cluster's admin side publishes of Azure's reasons: one small JSON file on the shared disk.

docs/cluster-status.md fixes the format. Whoever reads it can trust nothing of it: it may be missing, old,
half-written, or another program's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

SCHEMA_VERSION = 1
_MOST_BYTES = 8 << 20
# A file that is not written for so many of its own intervals is old, but none before 10 minutes are over.
_INTERVALS = 5
_LEAST_S = 600.0
_DEFAULT_INTERVAL_S = 60.0
# Clocks of two machines may differ by so much.
_AHEAD_S = 300.0
_LONGEST = 500
T = TypeVar("T")

# What can be wrong, of a node or of a nodearray; docs/cluster-status.md says what each means.
CODES = (
    *("ok", "starting", "quota", "capacity", "size-unavailable", "node-limit"),
    *("boot-failure", "setup-failure", "evicted", "event", "unhealthy", "unknown"),
)


class NotPublished(Exception):
    """There is no status that can be read; the text says why, as a sentence."""


@dataclass(frozen=True)
class NodeStatus:
    """One node (VM), as CycleCloud and Azure see it."""

    name: str
    nodearray: str | None
    state: str
    code: str
    message: str | None
    since: float | None


@dataclass(frozen=True)
class NodearrayStatus:
    """One nodearray: whether it can have more nodes."""

    name: str
    partition: str
    vm_size: str | None
    state: str
    code: str
    message: str | None
    since: float | None


@dataclass(frozen=True)
class Quota:
    """What of a quota is used."""

    name: str
    region: str | None
    unit: str
    used: float
    limit: float


@dataclass(frozen=True)
class Published:
    """What the file says. Instants are UTC seconds."""

    path: Path
    time: float
    interval_s: float = _DEFAULT_INTERVAL_S
    nodes: Mapping[str, NodeStatus] = field(default_factory=dict)
    nodearrays: Sequence[NodearrayStatus] = ()
    quotas: Sequence[Quota] = ()

    def age_s(self, now: float) -> float:
        return max(0.0, now - self.time)

    def is_stale(self, now: float) -> bool:
        """Whether it is too old to tell what holds now, or claims to come from the future."""
        too_old_s = max(_LEAST_S, _INTERVALS * self.interval_s)
        return self.age_s(now) > too_old_s or self.time - now > _AHEAD_S

    def of_partition(self, name: str) -> list[NodearrayStatus]:
        return [one for one in self.nodearrays if one.partition == name]


def read_published(path: Path) -> Published:
    """What the file says; entries that are not of the format are left out.

    Raises NotPublished.
    """
    data = _object(path)
    version, instant = data.get("schema_version"), _number(data.get("time"))
    if not isinstance(version, int) or isinstance(version, bool) or instant is None:
        raise NotPublished(f"{str(path)!r} is no cluster status: it has no schema_version and time.")
    if version != SCHEMA_VERSION:
        raise NotPublished(f"{str(path)!r} has schema_version {version}; this hpcai reads {SCHEMA_VERSION}.")
    interval_s = _number(data.get("interval_s"))
    nodes = list(_entries(data, "nodes", _node))
    return Published(
        path,
        instant,
        interval_s if interval_s is not None and interval_s > 0 else _DEFAULT_INTERVAL_S,
        {one.name: one for one in nodes},
        tuple(_entries(data, "nodearrays", _nodearray)),
        tuple(_entries(data, "quotas", _quota)),
    )


def _object(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise NotPublished(f"{str(path)!r} is not there.")
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise NotPublished(f"{str(path)!r} is no cluster status: it is larger than 8 MiB.")
        data = json.loads(text)
    except OSError as error:
        raise NotPublished(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise NotPublished(f"{str(path)!r} is half-written or damaged: it is no JSON.") from error
    if not isinstance(data, dict):
        raise NotPublished(f"{str(path)!r} is no cluster status: it holds no JSON object.")
    return data


def _entries(data: Mapping[str, Any], key: str, make: Callable[[Mapping[str, Any]], T | None]) -> Iterable[T]:
    listed = data.get(key)
    for one in listed if isinstance(listed, list) else ():
        made = make(one) if isinstance(one, dict) else None
        if made is not None:
            yield made


def _node(one: Mapping[str, Any]) -> NodeStatus | None:
    name, state = _text(one.get("name")), _text(one.get("state"))
    if name is None or state is None:
        return None
    message, since = _text(one.get("message")), _number(one.get("since"))
    return NodeStatus(name, _text(one.get("nodearray")), state, _code(one), message, since)


def _nodearray(one: Mapping[str, Any]) -> NodearrayStatus | None:
    name, state = _text(one.get("name")), _text(one.get("state"))
    if name is None or state is None:
        return None
    message, since = _text(one.get("message")), _number(one.get("since"))
    partition = _text(one.get("partition")) or name
    return NodearrayStatus(name, partition, _text(one.get("vm_size")), state, _code(one), message, since)


def _quota(one: Mapping[str, Any]) -> Quota | None:
    name, used, limit = _text(one.get("name")), _number(one.get("used")), _number(one.get("limit"))
    if name is None or used is None or limit is None:
        return None
    return Quota(name, _text(one.get("region")), _text(one.get("unit")) or "cores", used, limit)


def _code(one: Mapping[str, Any]) -> str:
    code = one.get("code", "ok")
    return code if code in CODES else "unknown"


def _text(value: Any) -> str | None:
    """Text of one line, as a terminal may show it."""
    if not isinstance(value, str) or not value.strip():
        return None
    line = " ".join("".join(char if char.isprintable() else " " for char in value).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
