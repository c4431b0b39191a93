"""How to run on an Azure VM size: tasks, cores, memory, bindings and settings, each with its source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from hpcai.catalog.sizes import did_you_mean_size, find_name, vm_sizes
from hpcai.catalog.sources import named
from hpcai.errors import NotFoundError, did_you_mean


@dataclass(frozen=True)
class Settings:
    """Variables and mounts that belong together, with where each is from."""

    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


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
    notes: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Figure -> where it is from, with date: `env.NCCL_TOPO_FILE` -> `Azure/... (2026-04-22)`."""
    parts: Mapping[str, Settings] = field(default_factory=dict)
    """What is not on by default and is asked for by name: the profile `SIZE+sharp` has the part `sharp`."""

    @property
    def vm_size(self) -> str:
        """The VM size's name."""
        return self.name.partition("+")[0]


@cache
def profiles() -> Mapping[str, Profile]:
    """All profiles by VM size, without their parts."""
    content = json.loads(Path(__file__).with_name("profiles.json").read_text(encoding="utf-8"))
    sets = {name: _settings(entry) for name, entry in content["sets"].items()}
    return {name: _profile(name, entry, sets) for name, entry in content["profiles"].items()}


def profile(name: str) -> Profile:
    """The profile of a VM size, or of `SIZE+PART`; in any case and with or without `Standard_`.

    Raises NotFoundError with the nearest name.
    """
    size, *parts = name.split("+")
    known = profiles()
    found = find_name(size, known)
    if found is None:
        # One that exists is not misspelt.
        is_size = find_name(size, vm_sizes()) is not None
        near = None if is_size else did_you_mean_size(size, known)
        raise NotFoundError(
            f"There is no run profile for the VM size {size!r}.",
            allowed="Leave profile out, and state what the job needs." if is_size else None,
            next_step=near or "hpcai vm list --profile",
        )
    done = known[found]
    for part in parts:
        done = _with(done, part)
    return done


def _with(base: Profile, part: str) -> Profile:
    if part not in base.parts:
        has = f"Its parts: {', '.join(base.parts)}." if base.parts else "It has no parts."
        raise NotFoundError(
            f"The run profile {base.vm_size!r} has no part {part!r}.",
            allowed=has,
            next_step=did_you_mean(part, base.parts),
        )
    return replace(_merged(base, base.parts[part]), name=f"{base.name}+{part}")


def _merged(base: Profile, added: Settings) -> Profile:
    env = {**base.env, **added.env}
    return replace(
        base,
        env={key: env[key] for key in sorted(env)},
        mounts=tuple(dict.fromkeys((*base.mounts, *added.mounts))),
        sources={**base.sources, **added.sources},
    )


def _settings(entry: Mapping[str, Any]) -> Settings:
    mounts, source = entry.get("mounts", ((), None))
    origins = {f"env.{key}": named([origin]) for key, (_, origin) in entry["env"].items()}
    if source is not None:
        origins["mounts"] = named([source])
    return Settings({key: value for key, (value, _) in entry["env"].items()}, tuple(mounts), origins)


def _profile(name: str, entry: Mapping[str, Any], sets: Mapping[str, Settings]) -> Profile:
    figures = {key: value for key, value in entry.items() if key not in ("sets", "parts", "notes")}
    done = Profile(
        name,
        **{key: value for key, (value, _) in figures.items()},
        notes=entry.get("notes", ""),
        sources={key: named([source]) for key, (_, source) in figures.items()},
        parts={part: sets[settings] for part, settings in entry.get("parts", {}).items()},
    )
    for each in entry["sets"]:
        done = _merged(done, sets[each])
    return done
