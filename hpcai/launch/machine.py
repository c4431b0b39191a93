"""What this machine has of what set-up needs: a GPU, compilers, MPI, the parts of Python."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcai import shell
from hpcai.errors import UnreachableError
from hpcai.launch.steps import Steps

NVIDIA_DEVICE = Path("/dev/nvidia0")
APT_LISTS = Path("/var/lib/apt/lists")
PROBE_TIMEOUT_S = 30
APT_TIMEOUT_S = 900
SOURCES_HINT = "Check the network and the sources in /etc/apt, then try again."


@dataclass(frozen=True)
class Mpi:
    """An Open MPI: what tells it from another, and where the machine's mpicxx is.

    `bin` is None for the wheel of Open MPI, which lies in the virtual environment.
    """

    key: str
    bin: Path | None = None


def is_root_with_apt() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def has_gpu() -> bool:
    return NVIDIA_DEVICE.exists() or shutil.which("nvidia-smi") is not None


def has_ensurepip() -> bool:
    return importlib.util.find_spec("ensurepip") is not None


def has_python_headers() -> bool:
    return Path(sysconfig.get_path("include"), "Python.h").is_file()


def has_compiler() -> bool:
    return all(shutil.which(name) for name in ("c++", "gcc", "make"))


def short_of_room(wanted_mb: Mapping[Path, int]) -> list[tuple[Path, int, int]]:
    """The folders whose disks have too little room: what is wanted there in all, and what is free, in MB."""
    disks: dict[int, int] = {}
    for folder, wanted in wanted_mb.items():
        disk = folder.stat().st_dev
        disks[disk] = disks.get(disk, 0) + wanted
    found = [(folder, disks[folder.stat().st_dev], free_mb(folder)) for folder in wanted_mb]
    return [(folder, wanted, free) for folder, wanted, free in found if free < wanted]


def free_mb(folder: Path) -> int:
    """What this user may still write there."""
    return shutil.disk_usage(folder).free // 10**6


def base_python() -> Path:
    """The interpreter that this one's virtual environment was made from, or this one."""
    base = Path(sys.base_prefix, "bin", f"python{python_version()}")
    return base if base.is_file() else Path(sys.executable)


def python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def python_is_debians() -> bool:
    return Path(sys.base_prefix) == Path("/usr") and Path("/etc/debian_version").exists()


def system_mpi() -> Mpi | None:
    """The machine's Open MPI with its compiler; None for another MPI, whose ranks srun could not start."""
    wrapper = shutil.which("mpicxx")
    if wrapper is None:
        return None
    done = shell.run([wrapper, "--showme:version"], timeout_s=PROBE_TIMEOUT_S, check=False)
    found = re.search(r"Open MPI (\d+)[.\d]*", done.stdout + done.stderr)
    if found is None or int(found[1]) < 4:
        return None
    return Mpi(found[0].lower().replace("open mpi ", "openmpi-"), Path(wrapper).parent)


def missing_debian_packages() -> list[str]:
    """The packages that root has to add, in the words of apt."""
    wanted = []
    if python_is_debians():
        wanted += [] if has_ensurepip() else [f"python{python_version()}-venv"]
        wanted += [] if has_python_headers() else [f"python{python_version()}-dev"]
    wanted += [] if has_compiler() else ["g++", "make"]
    wanted += [] if system_mpi() else ["libopenmpi-dev", "openmpi-bin"]
    return wanted


def install_debian_packages(packages: list[str], steps: Steps) -> None:
    """Debian's packages installed by root; their lists are fetched where they are missing or too old."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = [
        "apt-get",
        "install",
        "-y",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=120",
        *packages,
    ]
    lists_serve = any(APT_LISTS.glob("*_Packages*"))
    if lists_serve:
        lists_serve = (
            shell.run([*install, "--download-only"], timeout_s=APT_TIMEOUT_S, env=env, check=False).status
            == 0
        )
    if not lists_serve:
        steps.run(["apt-get", "update"], env=env, next_step=SOURCES_HINT)
        # apt tells of sources that do not answer, but its status is 0: others may have what is wanted.
        if not any(APT_LISTS.glob("*_Packages*")):
            raise UnreachableError(
                f"apt could not fetch its package lists; {str(steps.log)!r} holds all that it printed.",
                next_step=SOURCES_HINT,
            )
    steps.run(install, env=env, next_step=f"Install them by hand: apt-get install {' '.join(packages)}")
