"""A C++ compiler for a user who may install nothing: Debian's packages unpacked into the cache."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from hpcai.errors import ToolError
from hpcai.files import locked, publish, scratch_folder
from hpcai.launch import machine
from hpcai.slurm.local.apt import Apt

COMPILERS = {"gcc": "gcc", "cc": "gcc", "g++": "g++", "c++": "g++"}


def unpacked(cache: Path, package: str, *others: str, with_needs: bool) -> Path:
    """The folder below which packages lie unpacked, `with_needs` down to the C library.

    Raises ToolError where there is no apt, UnreachableError when nothing can be fetched.
    """
    target = cache / "debian" / package
    with locked(cache / "debian" / ".lock"):
        if not target.is_dir():
            with scratch_folder(target.parent) as folder:
                apt = Apt(folder / "apt", own_lists=True)
                apt.update()
                packages = [package, *others]
                apt.unpack(apt.closure(packages) if with_needs else packages, folder / "root")
                publish(folder / "root", target)
    return target


def ensure(cache: Path) -> dict[str, str]:
    """The variables with which a build finds a compiler, make and Python.h; none where all are installed.

    They name `cache` as it is given: make, which splits at spaces, is served by a link without one.

    Raises ToolError that names the packages to install, where they cannot be had without root,
    UnreachableError when nothing can be fetched.
    """
    added = {}
    if not machine.has_compiler():
        folder = _compiler(cache)
        added["PATH"] = f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        added["LD_LIBRARY_PATH"] = str(folder / "lib")
    if not machine.has_python_headers():
        include = _python_headers(cache)
        # Debian's pyconfig.h includes <ARCHITECTURE/pythonX.Y/pyconfig.h>, hence both folders.
        python = include / f"python{machine.python_version()}"
        added["CPLUS_INCLUDE_PATH"] = f"{python}{os.pathsep}{include}"
    return added


def _compiler(cache: Path) -> Path:
    """A folder: bin with programs that stand for the unpacked ones, lib with what these load."""
    root = _private(cache, "g++", "make", what="a C++ compiler and make", with_needs=True)
    folder = root / "compiler"
    if not folder.is_dir():
        with scratch_folder(root) as new:
            _link_libraries(root, new / "made" / "lib")
            _write_programs(new / "made" / "bin")
            publish(new / "made", folder)
    return folder


def _link_libraries(root: Path, folder: Path) -> None:
    """Only what the machine lacks: its own C library and loader belong together."""
    folder.mkdir(parents=True)
    system = f"lib/{platform.machine()}-linux-gnu"
    for library in (root / "usr" / system).glob("*.so*"):
        if not any(Path(top, system, library.name).exists() for top in ("/", "/usr")):
            (folder / library.name).symlink_to(Path("../../usr", system, library.name))


def _write_programs(folder: Path) -> None:
    """Programs that find the unpacked ones from where they themselves are called: any link may lead there."""
    folder.mkdir()
    for name, real in COMPILERS.items():
        text = "#!/bin/sh\nroot=${0%/*}/../..\n"
        text += f'exec "$root/usr/bin/{real}" --sysroot="$root" -B"$root/usr/bin" "$@"\n'
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    (folder / "make").symlink_to("../../usr/bin/make")


def _python_headers(cache: Path) -> Path:
    what = f"the header Python.h of {machine.base_python()}"
    package = f"libpython{machine.python_version()}-dev"
    if not machine.python_is_debians():
        raise _missing(what, "python3-dev")
    return _private(cache, package, what=what, with_needs=False) / "usr" / "include"


def _private(cache: Path, *packages: str, what: str, with_needs: bool) -> Path:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise _missing(what, *packages)
    try:
        return unpacked(cache, *packages, with_needs=with_needs)
    except ToolError as error:
        raise _missing(what, *packages) from error


def _missing(what: str, *packages: str) -> ToolError:
    return ToolError(
        f"Horovod must be compiled once, and this machine lacks {what}.",
        next_step=f"Have it installed (Debian: apt-get install {' '.join(packages)}), then try again.",
    )
