"""How to run on an Azure VM size: tasks, cores, memory, bindings and settings, each with its source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hpcai.errors import NotFoundError, did_you_mean


@dataclass(frozen=True)
class Profile:
    """The settings for a whole node of one VM size; None means that no source states it.

    `mem_gib` 0 is Slurm's word for all memory of the node.
    """

    name: str
    ntasks_per_node: int | None = None
    cpus_per_task: int | None = None
    gpus_per_node: int | None = None
    mem_gib: int | None = None
    cpu_bind: str | None = None
    mounts: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    """Figure -> where it is from, with date: `env.NCCL_TOPO_FILE` -> `Azure/... (2026-04)`."""


@cache
def profiles() -> Mapping[str, Profile]:
    """All profiles by VM size."""
    content = json.loads(Path(__file__).with_name("profiles.json").read_text(encoding="utf-8"))
    sources = {name: f"{source['from']} ({source['date']})" for name, source in content["sources"].items()}
    return {name: _profile(name, entry, sources) for name, entry in content["profiles"].items()}


def profile(name: str) -> Profile:
    """The profile of a VM size.

    Raises NotFoundError with the nearest name.
    """
    known = profiles()
    if name not in known:
        raise NotFoundError(
            f"There is no run profile for the VM size {name!r}.",
            allowed=f"Profiles: {', '.join(known)}.",
            next_step=did_you_mean(name, known),
        )
    return known[name]


def _profile(name: str, entry: Mapping[str, Any], sources: Mapping[str, str]) -> Profile:
    settings = dict(entry)
    env = settings.pop("env", {})
    mounts, _ = settings.get("mounts", ((), None))
    origins = {key: sources[source] for key, (_, source) in settings.items()}
    return Profile(
        name,
        **{key: value for key, (value, _) in settings.items() if key != "mounts"},
        mounts=tuple(mounts),
        env={key: value for key, (value, _) in env.items()},
        sources=origins | {f"env.{key}": sources[source] for key, (_, source) in env.items()},
    )
