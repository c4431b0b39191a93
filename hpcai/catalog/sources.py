"""Where the catalog's figures are from: every data file names its sources by the short ids of sources.csv."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path


@cache
def sources() -> Mapping[str, str]:
    """What each short id stands for, with its date last: `Azure/azhpc-images ... (2026-07-29)`."""
    with Path(__file__).with_name("sources.csv").open(encoding="utf-8", newline="") as file:
        return {row["id"]: _told(row) for row in csv.DictReader(file)}


def named(ids: Iterable[str]) -> str:
    """Several sources as one text; each of them states the figure, or they state it together."""
    return "; ".join(sources()[each] for each in ids)


def _told(row: Mapping[str, str]) -> str:
    commit = f"{row['commit']}, " if row["commit"] else ""
    return f"{row['from']} ({commit}{row['date']})"
