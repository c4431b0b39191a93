"""Cases of findings as data: what a user wrote, what this machine and Slurm hold, and what must be found.

A case file is named after its id. Each of `bad` must lead to it, none of `good` may. `{folder}` is a folder
of the case's own, which is also its home and its shared folder.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hpcai import entry
from hpcai.check.findings import Finding
from hpcai.check.job import Surroundings, check_job
from hpcai.check.marked import with_places
from hpcai.check.probe import check_probe, probe_of
from hpcai.check.script import check_script
from hpcai.check.slurm_itself import slurm_as_a_whole
from hpcai.check.told import Told
from hpcai.errors import SlurmError, UnreachableError
from hpcai.render.resolved import resolve_job
from hpcai.slurm.answers import Association, NodeInfo, PartitionInfo
from hpcai.slurm.vm_size import with_profile
from hpcai.specs.job import JobSpec
from hpcai.specs.load import open_text
from hpcai.specs.site import Site

FOLDER = Path(__file__).parents[1] / "cases" / "checks"
_LOOKED_AT = entry.looked_at
HEAD = "kind: job\nname: x\n"


@dataclass(frozen=True)
class Case:
    """One thing to look at, in a folder of its own."""

    given: Mapping[str, Any]
    folder: Path
    comes_back: threading.Event = field(default_factory=threading.Event)

    def found(self) -> list[Finding]:
        """All findings, with their places."""
        self._make_files()
        if "probe" in self.given:
            return list(check_probe(probe_of(self.text("probe")), "n1", self._around()))
        if "script" in self.given:
            file = self.folder / "job.sh"
            file.write_text(self.text("script"))
            return list(check_script(self.text("script"), file, self._around(), None).findings)
        opened = open_text(HEAD + self.text("job"), "job.yaml", base=self.folder)
        assert isinstance(opened.spec, JobSpec)
        around = self._around()
        spec = with_profile(opened.spec, around.site.partitions, around.told.partitions, around.told.nodes)
        cwd = self.folder / self.given.get("cwd", "")
        job = resolve_job(spec, around.site, interpreter=Path("/usr/bin/python3"), cwd=cwd)
        found = [*slurm_as_a_whole(around.told, is_there=True), *check_job(job, around, None).findings]
        return with_places(found, opened.document)

    def text(self, key: str) -> str:
        return str(self.given[key]).replace("{folder}", str(self.folder))

    def mounts(self) -> list[tuple[str, str, str]]:
        lines = self.given.get("mounts", ["disk / ext4", "share {folder} nfs4"])
        return [tuple(line.replace("{folder}", str(self.folder)).split()) for line in lines]

    def waits_for_ever(self, path: Path) -> entry.Entry:
        """What lies at a path; of a share that is away, not before it comes back."""
        if any(str(path).startswith(self.of(name)) for name in self.given["silent"]):
            with entry.looking_at(path):
                self.comes_back.wait()
        return _LOOKED_AT(path)

    def of(self, name: str) -> str:
        return name.replace("{folder}", str(self.folder))

    def _make_files(self) -> None:
        for name, content in self.given.get("files", {}).items():
            path = Path(name.replace("{folder}", str(self.folder)))
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Mapping):
                size = int(content.get("gib", 0) * 2**30) or 4096
                path.write_bytes(squashfs(int(content.get("says", size))) if content.get("is_image") else b"")
                os.truncate(path, size)
                path.chmod(int(str(content.get("mode", "644")), 8))
                if "text" in content:
                    path.write_text(content["text"])
            else:
                path.write_text((content or "").replace("{folder}", str(self.folder)))
                path.chmod(0o600)
        for name in self.given.get("pipes", []):
            os.mkfifo(self.of(name))
        for name in self.given.get("closed", []):
            Path(self.of(name)).chmod(0)

    def _around(self) -> Surroundings:
        environ = {"HOME": str(self.folder), "ENROOT_SYSCONF_PATH": f"{self.folder}/enroot"}
        environ["SLURM_CONF"] = f"{self.folder}/slurm.conf"
        given = self.given.get("environ", {})
        environ |= {name: text.replace("{folder}", str(self.folder)) for name, text in given.items()}
        site = {"runs_root": self.folder / "runs", **self.given.get("site", {})}
        site["shared_folders"] = tuple(
            one.replace("{folder}", str(self.folder)) for one in site.get("shared_folders", ())
        )
        return Surroundings(Site(**site), environ, self.folder / "prices.json", self._told())

    def _told(self) -> Told:
        slurm = self.given.get("slurm", {})
        nodes = [NodeInfo(**_as_node(one)) for one in slurm.get("nodes", [])] if "nodes" in slurm else None
        parts = slurm.get("partitions")
        partitions = (
            None if parts is None else [PartitionInfo(**{"is_default": True, **one}) for one in parts]
        )
        known = [Association(**{**one, "qos": tuple(one["qos"])}) for one in slurm.get("associations", [])]
        errors = {name: UnreachableError("No answer.") for name in slurm.get("unanswered", [])}
        errors |= {name: SlurmError(words) for name, words in slurm.get("refused", {}).items()}
        return Told(
            partitions=partitions,
            nodes=nodes,
            config=slurm.get("config"),
            version=tuple(slurm["version"]) if "version" in slurm else None,
            mpi_plugins=frozenset(slurm["mpi"]) if "mpi" in slurm else None,
            srun_takes_containers=slurm.get("srun_takes_containers"),
            sbatch_takes_containers=slurm.get("sbatch_takes_containers"),
            associations=known if "associations" in slurm else None,
            errors=errors,
        )


def _as_node(given: Mapping[str, Any]) -> dict[str, Any]:
    node = {"state": "IDLE", "hostname": socket.gethostname(), **given}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in node.items()}


def squashfs(size: int) -> bytes:
    """The begin of an image that says it has so many bytes."""
    return struct.pack("<4s24xHH8xQ48x", b"hsqs", 4, 0, size)


def load(ident: str) -> dict[str, Any]:
    """The cases of an id."""
    cases: dict[str, Any] = yaml.load((FOLDER / f"{ident}.yaml").read_bytes(), yaml.CSafeLoader)
    return cases
