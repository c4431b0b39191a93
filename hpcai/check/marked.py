"""Findings with their places: where in the user's file what they are about stands."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from hpcai.check.findings import Finding
from hpcai.specs.yaml_text import Document, Path, Place

# What a profile brings, where the file itself does not say it.
_OF_PROFILE = ("ntasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gib", "env")


def with_places(findings: Iterable[Finding], document: Document) -> list[Finding]:
    """The findings about keys of this document, each with `FILE:LINE:COLUMN`; others as they were."""
    return [replace(one, place=place_of(one.where, document)) if not one.place else one for one in findings]


def place_of(where: str, document: Document) -> str | None:
    """The place of `container.mounts[0]`; None for what is no key, such as `slurm`."""
    path = _path(where, document)
    if path is None:
        return None
    place = document.place(path)
    if path[:1] not in document.keys and path[0] in _OF_PROFILE and ("profile",) in document.keys:
        place = document.place(("profile",))
    return _text(place)


def _path(where: str, document: Document) -> Path | None:
    from hpcai.specs.job import JobSpec

    named = re.fullmatch(r"data ([a-z][\w-]*)", where)
    if named:
        entries = document.data.get("data") or []
        return next((("data", i) for i, one in enumerate(entries) if one.get("name") == named[1]), ("data",))
    parts = [int(part[1:-1]) if part[0] == "[" else part for part in re.findall(r"\[\d+\]|[^.\[\]]+", where)]
    return tuple(parts) if parts and parts[0] in JobSpec.model_fields else None


def _text(place: Place) -> str:
    return str(place) if place.line is None else f"{place.origin}:{place.line}:{place.column}"
