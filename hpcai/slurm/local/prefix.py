"""Slurm and munge of the machine's own distribution, in one folder that needs nothing outside it."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hpcai.errors import ToolError, UnreachableError
from hpcai.files import locked, publish, scratch_folder
from hpcai.slurm.local import apt, relocate, tools

# Raise it when the layout of the folder changes: older folders are then made anew.
LAYOUT = 1
PROGRAMS = ("slurmctld", "slurmd", "slurm-client", "munge")
# The library that srun's --mpi=pmix loads at run time; no package of Slurm names it. New suites renamed it.
PMIX = ("libpmix2t64", "libpmix2")


@dataclass(frozen=True)
class Prefix:
    """The folder: bin (what users type), sbin (daemons), lib, lib/slurm (plugins)."""

    root: Path

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def sbin(self) -> Path:
        return self.root / "sbin"

    @property
    def plugins(self) -> Path:
        return self.root / "lib" / "slurm"

    def version(self) -> str:
        """Slurm's version, such as '22.05.8'."""
        return str(json.loads((self.root / "prefix.json").read_text(encoding="utf-8"))["slurm"])


def is_made(cache: Path) -> bool:
    """Whether `ensure` will find the folder without fetching anything."""
    return _stands(cache.absolute() / "slurm" / _distribution())


def ensure(cache: Path) -> Prefix:
    """The folder: made the first time from 17 MB of packages, found at once and offline after that.

    Raises ToolError where there is no apt, UnreachableError when the packages cannot be fetched.
    """
    cache = cache.absolute()
    target = cache / "slurm" / _distribution()
    with locked(cache / "slurm" / ".lock"):
        if not _stands(target):
            with scratch_folder(target.parent) as folder:
                _make(cache, folder, target)
    return Prefix(target)


def _stands(target: Path) -> bool:
    """Whether the folder is whole, of this layout, and where it was made: programs hold that path."""
    try:
        made = json.loads((target / "prefix.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return bool(made["layout"] == LAYOUT and made["root"] == str(target.resolve()))


def _distribution() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    return f"{release.get('ID', 'linux')}-{release.get('VERSION_ID', 'unknown')}-{platform.machine()}"


def _make(cache: Path, folder: Path, target: Path) -> None:
    apt.require()
    patchelf = tools.patchelf(cache)
    root = folder / "root"
    packages = _unpack(folder, root)
    new = folder / "new"
    relocate.relocate(root, new, target.resolve(), patchelf)
    _keep_licences(root, new)
    record = {
        "layout": LAYOUT,
        "root": str(target.resolve()),
        "slurm": _slurm_version(packages),
        "packages": packages,
    }
    (new / "prefix.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    publish(new, target)


def _unpack(folder: Path, root: Path) -> list[str]:
    """Packages unpacked below `root`: by the machine's package lists, else by lists of our own."""
    try:
        return _unpack_with(apt.Apt(folder / "apt-machine", own_lists=False), root)
    except (ToolError, UnreachableError):
        # No lists on this machine, or lists so old that what they name is gone.
        shutil.rmtree(root, ignore_errors=True)
    own = apt.Apt(folder / "apt-own", own_lists=True)
    own.update()
    return _unpack_with(own, root)


def _unpack_with(source: apt.Apt, root: Path) -> list[str]:
    pmix, needs = _pmix(source)
    # PMIx depends on hwloc's plugins, which bring X11 and OpenCL: 100 packages that nothing here loads.
    return source.unpack([*source.closure([*PROGRAMS, *needs]), *pmix], root)


def _pmix(source: apt.Apt) -> tuple[list[str], list[str]]:
    """The package of the PMIx library and those that it needs; nothing where the distribution has none."""
    for package in PMIX:
        needs = source.depends(package)
        if needs is not None:
            return [package], [name for name in needs if not name.endswith("-plugins")]
    return [], []


def _slurm_version(packages: Iterable[str]) -> str:
    """'22.05.8' from 'slurmctld_22.05.8-4+deb12u3_amd64'."""
    full = next(name.split("_")[1] for name in packages if name.startswith("slurmctld_"))
    return full.replace("%3a", ":").rpartition(":")[2].partition("-")[0]


def _keep_licences(root: Path, new: Path) -> None:
    for file in root.glob("usr/share/doc/*/copyright"):
        if file.is_file():
            kept = new / "share" / "doc" / file.parent.name
            kept.mkdir(parents=True)
            shutil.copy(file, kept / "copyright")
