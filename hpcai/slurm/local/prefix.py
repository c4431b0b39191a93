"""Slurm and munge of a distribution, by default the machine's own, in a folder that needs nothing else."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from hpcai.errors import ToolError, UnreachableError
from hpcai.files import locked, publish, scratch_folder
from hpcai.slurm.local import apt, debian, relocate, tools

# Raise it when the layout of the folder changes: older folders are then made anew.
LAYOUT = 2
# Slurm's versions that can be had besides, and Debian's suites that have them. What testing has moves on.
SUITES = {"22.05": "bookworm", "24.11": "trixie", "testing": "testing"}
PROGRAMS = ("slurmctld", "slurmd", "slurm-client", "munge")
# The library that srun's --mpi=pmix loads at run time; no package of Slurm names it. New suites renamed it.
PMIX = ("libpmix2t64", "libpmix2")
# What a plugin is compiled with: slurm/spank.h and its like.
HEADERS = ("libslurm-dev",)


@dataclass(frozen=True)
class Prefix:
    """The folder: bin (what users type), sbin (daemons), lib, lib/slurm (plugins), include."""

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

    @property
    def headers(self) -> Path:
        """The folder to compile a plugin of this Slurm with: `gcc -I` finds <slurm/spank.h> in it."""
        return self.root / "include"

    def version(self) -> str:
        """Slurm's version, such as '22.05.8'."""
        return str(json.loads((self.root / "prefix.json").read_text(encoding="utf-8"))["slurm"])


def place(cache: Path, release: str | None = None) -> Path:
    """Where the folder of a release of SUITES stands, or will; None is the machine's own distribution."""
    return cache.absolute() / "slurm" / suite_name(release)


def suite_name(release: str | None) -> str:
    """What tells folders of packages apart: distribution, its version, and the kind of machine."""
    distribution = _distribution() if release is None else f"debian-{SUITES[release]}"
    return f"{distribution}-{platform.machine()}"


def is_made(cache: Path, release: str | None = None) -> bool:
    """Whether `ensure` will find the folder without fetching anything."""
    return _stands(place(cache, release))


def origin(cache: Path, release: str | None = None) -> str:
    """Where `ensure` will fetch from, and what it costs: measured on two cores and a fast network."""
    if place(cache, release) == place(cache):
        return "this machine's distribution: 18 MB, some 10 s"
    return f"Debian's {SUITES[str(release)]}: 45 MB, some 20 s"


def ensure(cache: Path, release: str | None = None) -> Prefix:
    """The folder: made the first time from packages, found at once and offline after that.

    Raises ToolError where there is no apt or no such release, UnreachableError when the packages cannot be
    fetched.
    """
    target = place(cache, release)
    with locked(target.parent / ".lock"):
        if not _stands(target):
            with scratch_folder(target.parent) as folder:
                _make(cache.absolute(), folder, target, release)
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
    version = release.get("VERSION_CODENAME") or release.get("VERSION_ID", "unknown")
    return f"{release.get('ID', 'linux')}-{version}"


def _make(cache: Path, folder: Path, target: Path, release: str | None) -> None:
    apt.require()
    patchelf = tools.patchelf(cache)
    root = folder / "root"
    packages = unpack(release, folder, root, _unpack_with)
    new = folder / "new"
    relocate.relocate(root, new, target.resolve(), patchelf)
    _keep_headers(root, new)
    keep_licences(root, new)
    record = {
        "layout": LAYOUT,
        "root": str(target.resolve()),
        "slurm": version_in(packages, "slurmctld"),
        "packages": packages,
    }
    (new / "prefix.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    publish(new, target)


def unpack(
    release: str | None, folder: Path, root: Path, choose_and_unpack: Callable[[apt.Apt, Path], list[str]]
) -> list[str]:
    """The packages of a release of SUITES unpacked below `root`; `folder` is for what is needed on the way.

    A machine of the suite itself has the suite's sources already: its package lists, else lists of our own.
    """
    if release is not None and suite_name(release) != suite_name(None):
        source = debian.source(SUITES[release], folder / "trust")
        other = apt.Apt(folder / "apt-suite", own_lists=True, source=source)
        other.update()
        return choose_and_unpack(other, root)
    try:
        return choose_and_unpack(apt.Apt(folder / "apt-machine", own_lists=False), root)
    except (ToolError, UnreachableError):
        # No lists on this machine, or lists so old that what they name is gone.
        shutil.rmtree(root, ignore_errors=True)
    own = apt.Apt(folder / "apt-own", own_lists=True)
    own.update()
    return choose_and_unpack(own, root)


def _unpack_with(source: apt.Apt, root: Path) -> list[str]:
    pmix, needs = _pmix(source)
    # PMIx depends on hwloc's plugins, which bring X11 and OpenCL: 100 packages that nothing here loads.
    return source.unpack([*source.closure([*PROGRAMS, *needs]), *pmix, *HEADERS], root)


def _pmix(source: apt.Apt) -> tuple[list[str], list[str]]:
    """The package of the PMIx library and those that it needs; nothing where the distribution has none."""
    for package in PMIX:
        needs = source.depends(package)
        if needs is not None:
            return [package], [name for name in needs if not name.endswith("-plugins")]
    return [], []


def version_in(packages: Iterable[str], package: str) -> str:
    """'22.05.8' from 'slurmctld_22.05.8-4+deb12u3_amd64'."""
    full = next(name.split("_")[1] for name in packages if name.startswith(f"{package}_"))
    return full.replace("%3a", ":").rpartition(":")[2].partition("-")[0]


def _keep_headers(root: Path, new: Path) -> None:
    headers = root / "usr" / "include" / "slurm"
    if not (headers / "spank.h").is_file():
        raise ToolError("This distribution's packages of Slurm hold no 'slurm/spank.h'.")
    shutil.copytree(headers, new / "include" / "slurm")


def keep_licences(root: Path, new: Path) -> None:
    """The packages' copyright files."""
    for file in root.glob("usr/share/doc/*/copyright"):
        if file.is_file():
            kept = new / "share" / "doc" / file.parent.name
            kept.mkdir(parents=True)
            shutil.copy(file, kept / "copyright")
