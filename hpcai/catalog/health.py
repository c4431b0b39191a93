"""What a sound node of a VM size shows: counts, memory, bandwidths, each with its source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hpcai.catalog.sizes import find_name
from hpcai.catalog.sources import named


@dataclass(frozen=True)
class Baseline:
    """Figures by name, with the unit last; a bandwidth is the least that a sound node reaches.

    `memory_gib` is what Linux sees, within `memory_tolerance_percent`. `allreduce_gb_per_s` is the bus
    bandwidth on one node for messages of `allreduce_bytes`; `_nodes_` is between nodes, `_rack_` within a
    rack, and beside them `_warn_` and `_fail_` are where a measurement is doubtful and where it is bad.
    """

    name: str
    figures: Mapping[str, float | str]
    sources: Mapping[str, str]
    notes: str = ""


def baseline(name: str) -> Baseline | None:
    """The baseline of a VM size; None where nobody has published one."""
    known = _baselines()
    found = find_name(name, known)
    return None if found is None else known[found]


@cache
def _baselines() -> Mapping[str, Baseline]:
    content = json.loads(Path(__file__).with_name("health.json").read_text(encoding="utf-8"))
    return {name: _baseline(name, entry) for name, entry in content["sizes"].items()}


def _baseline(name: str, entry: Mapping[str, Any]) -> Baseline:
    figures = {key: value for key, value in entry.items() if key != "notes"}
    return Baseline(
        name,
        {key: value for key, (value, _) in figures.items()},
        {key: named([source]) for key, (_, source) in figures.items()},
        entry.get("notes", ""),
    )
