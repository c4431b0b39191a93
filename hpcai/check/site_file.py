"""site.yaml: the facts about a site that `hpcai check --write` keeps for the other commands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hpcai.check import places
from hpcai.check.exports import exports, is_this_machine
from hpcai.check.job import Surroundings
from hpcai.check.probe import Probe, enroot_folders, facts_of
from hpcai.errors import StageError
from hpcai.files import NO_ROOM, write_whole
from hpcai.slurm.plugstack import pyxis_options, pyxis_version
from hpcai.slurm.vm_size import size_of

_MARK = "# Written by `hpcai check --write`"


@dataclass(frozen=True)
class Facts:
    """Settings by key, each with where it is from; `remarks` are no settings and stand as comments."""

    values: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def facts_of_site(around: Surroundings, probes: Mapping[str, Probe]) -> Facts:
    """What Slurm and the nodes tell; what the settings say already is not taken for a fact."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, size, origin in _sizes(around, probes):
        values.setdefault("partitions", {})[name] = size
        origins[f"partitions.{name}"] = origin
    for key, value in facts_of(probes).items():
        values[key], origins[key] = value, "a task on the nodes"
    exact = pyxis_version(around.environ)
    if exact is not None:
        values["pyxis_version"], origins["pyxis_version"] = exact, "the plugin that plugstack.conf names"
    elif around.told.pyxis_release == "0.24":
        # Of what has fewer options only the latest release that it can be is known.
        values["pyxis_version"], origins["pyxis_version"] = "0.24", "srun has --container-unshare"
    spot = [name for name, probe in probes.items() if probe.is_spot]
    if spot:
        values["spot_partitions"], origins["spot_partitions"] = spot, "Azure's metadata service on a node"
    shared = _shared(probes)
    if shared:
        values["shared_folders"] = shared
        origins["shared_folders"] = "the same here and on the nodes, by what is mounted and exported"
    return Facts(values, origins, tuple(_remarks(around, probes)))


def _sizes(around: Surroundings, probes: Mapping[str, Probe]) -> Iterator[tuple[str, str, str]]:
    told = around.told
    for partition in told.partitions or ():
        probe = probes.get(partition.name)
        said = probe.one("vm_size") if probe is not None else None
        names = set(partition.node_names)
        found = size_of(partition.name, {}, [node for node in told.nodes or () if node.name in names])
        if said is not None:
            yield partition.name, said, "Azure's metadata service on a node"
        elif found.name is not None:
            yield partition.name, found.name, f"judged by {found.how}" if found.is_judged else found.how


def _shared(probes: Mapping[str, Probe]) -> list[str]:
    """The folders that this machine and all nodes that were asked have from the same place."""
    if not probes:
        return []
    here = places.shared_mounts()
    return [
        target
        for target, source in sorted(here.items())
        if all(_is_same(source, target, probe.shared.get(target, "")) for probe in probes.values())
    ]


def _is_same(source: str, target: str, on_node: str) -> bool:
    """Whether a node has mounted what this machine has mounted there, or exports from there."""
    if on_node == source:
        return True
    host, colon, folder = on_node.rpartition(":")
    return bool(colon) and folder == target and folder in exports() and is_this_machine(host.strip("[]"))


def _remarks(around: Surroundings, probes: Mapping[str, Probe]) -> Iterator[str]:
    config = around.told.config or {}
    for key in ("SLURM_VERSION", "ClusterName", "MaxArraySize", "MaxJobCount", "SlurmctldHost[0]"):
        if key in config:
            yield f"{key}: {config[key]}"
    if around.told.srun_takes_containers is not None:
        yield f"srun takes containers: {'yes' if around.told.srun_takes_containers else 'no'}"
    if "runtime_path" in pyxis_options(around.environ):
        yield f"Pyxis, runtime_path: {pyxis_options(around.environ)['runtime_path']}"
    for name, probe in probes.items():
        for what, folder in enroot_folders(probe):
            yield f"Enroot, {what} on a node of {name}: {folder}"
        if probe.ports:
            yield f"InfiniBand on a node of {name}: {'; '.join(probe.ports)}"


def text_of(facts: Facts, now: float) -> str:
    """The file; JSON's texts and lists are YAML's too."""
    date = datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        f"{_MARK} on {date}; it may be written again.",
        "# Your own settings go into config.yaml, which wins.",
    ]
    lines += [f"# {re.sub(r'[^ -~]', '?', remark)}" for remark in facts.remarks]
    lines.append("kind: config")
    for key, value in facts.values.items():
        if isinstance(value, dict):
            lines.append(f"{key}:")
            lines += [
                f"  {json.dumps(name)}: {json.dumps(one)}  # {facts.origins[f'{key}.{name}']}"
                for name, one in value.items()
            ]
        else:
            lines.append(f"{key}: {json.dumps(value)}  # {facts.origins[key]}")
    return "\n".join(lines) + "\n"


def write(facts: Facts, path: Path, now: float) -> None:
    """The file appears whole or stays as it was. Raises StageError, also for a file that others wrote."""
    try:
        if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
            raise StageError(
                f"{str(path)!r} was not written by `hpcai check --write`, and is left as it is.",
                next_step="Give it another name, such as config.yaml beside it.",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text_of(facts, now))
    except OSError as error:
        why = "the disk is full" if error.errno in NO_ROOM else error.strerror
        raise StageError(f"{str(path)!r} cannot be written: {why}.") from error
