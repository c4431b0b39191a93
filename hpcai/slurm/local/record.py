"""What a cluster is and what of it runs, as the files that `up` and the supervisor write."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from hpcai.files import write_whole
from hpcai.processes import Process
from hpcai.slurm.local.conf import Shape
from hpcai.slurm.local.places import Place

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Cluster:
    """One cluster as it was set up; `home` is its state folder by a path that Slurm and sockets can take."""

    shape: Shape
    home: Path
    prefix: Path
    slurm_version: str
    controller_port: int
    node_ports: tuple[int, ...]
    blob_port: int | None
    azurite: tuple[str, ...]
    accounting_port: int | None = None

    @property
    def conf(self) -> Path:
        return self.home / "slurm.conf"

    @property
    def ports(self) -> tuple[int, ...]:
        others = (self.blob_port, self.accounting_port)
        return (self.controller_port, *self.node_ports, *(port for port in others if port))

    @property
    def blob_endpoint(self) -> str | None:
        return f"http://127.0.0.1:{self.blob_port}/devstoreaccount1" if self.blob_port else None


def save_cluster(place: Place, cluster: Cluster) -> None:
    record = {**asdict(cluster), "schema_version": SCHEMA_VERSION}
    write_whole(place.shape, json.dumps(record, indent=1, default=str) + "\n")


def load_cluster(place: Place) -> Cluster | None:
    """The cluster that was last set up under this name, None when there was none."""
    try:
        record = json.loads(place.shape.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    # A later hpcai may have written it, to the cache that all checkouts share: what it adds is its own.
    known = {field.name for field in fields(Shape)}
    return Cluster(
        shape=Shape(**{name: value for name, value in record["shape"].items() if name in known}),
        home=Path(record["home"]),
        prefix=Path(record["prefix"]),
        slurm_version=record["slurm_version"],
        controller_port=record["controller_port"],
        node_ports=tuple(record["node_ports"]),
        blob_port=record["blob_port"],
        azurite=tuple(record["azurite"]),
        accounting_port=record.get("accounting_port"),
    )


@dataclass(frozen=True)
class Running:
    """A daemon at work; `since` is UTC seconds."""

    process: Process
    since: float


@dataclass(frozen=True)
class Daemons:
    """All daemons at one moment: those at work, and how often each was started again."""

    supervisor: Process
    since: float
    running: Mapping[str, Running]
    restarts: Mapping[str, int]


def save_daemons(place: Place, daemons: Daemons) -> None:
    write_whole(
        place.daemons, json.dumps({"schema_version": SCHEMA_VERSION, **asdict(daemons)}, indent=1) + "\n"
    )


def load_daemons(place: Place) -> Daemons | None:
    """What the supervisor last wrote; the processes may have ended since.

    None too for a file that another version of hpcai wrote: its processes are found by their marks.
    """
    try:
        record = json.loads(place.daemons.read_text(encoding="utf-8"))
        running = {
            name: Running(Process(**entry["process"]), entry["since"])
            for name, entry in record["running"].items()
        }
        return Daemons(Process(**record["supervisor"]), record["since"], running, record["restarts"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def now() -> float:
    return time.time()
