"""Horovod, built once from its source package for the torch and MPI that are here, and kept as a wheel."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hpcai import shell
from hpcai.errors import ToolError
from hpcai.files import publish, scratch_folder
from hpcai.launch import toolchain
from hpcai.launch.machine import Mpi
from hpcai.launch.packages import Packages

VERSION = "0.28.1"
# How build folders in the cache are named.
BUILD = "build-"
CMAKE_NEEDED = (3, 13)
GIB_PER_COMPILER = 3
PROBE_TIMEOUT_S = 120
# Horovod asks CMake for C++14, torch's headers need C++17. A tool-chain file is read before the project, and
# its rules may say which option stands for "C++14": so the source package is built as it is.
# Its headers use what the standard headers of GCC 13 no longer bring along.
TOOLCHAIN = """\
set(CMAKE_CXX_FLAGS_INIT "-include cstdint -include stdexcept")
set(CMAKE_USER_MAKE_RULES_OVERRIDE_CXX ${CMAKE_CURRENT_LIST_DIR}/rules.cmake)
"""
RULES = 'set(CMAKE_CXX14_STANDARD_COMPILE_OPTION "-std=c++17")\n'
# From site-packages/horovod/torch to the lib folder of the environment, where the wheel of Open MPI lies:
# with this the built wheel fits any environment.
BESIDE = 'set(CMAKE_BUILD_RPATH "$ORIGIN/../../../..")\n'
# Where torch was built for CUDA, Horovod builds for GPUs as soon as it finds a trace of a CUDA toolkit, which
# may be less than it needs. What is built here is for processors alone, whatever torch says of itself.
NO_GPU = """\
set(CMAKE_CUDA_COMPILER NOTFOUND)
set(CMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit TRUE)
set(CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR})
"""
FIND_TORCH = """\
set(python ${PY_EXE})
set(PY_EXE ${CMAKE_CURRENT_LIST_DIR}/without-gpu)
include(${PROJECT_SOURCE_DIR}/cmake/Modules/FindPytorch.cmake)
set(PY_EXE ${python})
"""
WITHOUT_GPU = """\
#!/bin/sh
exec "${0%/*}/venv/bin/python" -c "import torch; torch.version.cuda = torch.version.hip = None; $2"
"""


@dataclass(frozen=True)
class HorovodWheel:
    """The wheel for one environment."""

    packages: Packages
    mpi: Mpi

    @property
    def folder(self) -> Path:
        """Named by all that the wheel is tied to; stands only when the wheel is in it."""
        asked = "import sys, torch; print('cp%d%d' % sys.version_info[:2], torch.__version__)"
        done = shell.run([self.packages.python, "-c", asked], timeout_s=PROBE_TIMEOUT_S)
        parts = [f"horovod-{VERSION}", *done.stdout.split(), self.mpi.key, os.uname().machine]
        return self.packages.cache / "wheels" / "-".join(parts)

    def build(self) -> None:
        """Fetches the source package and compiles it: some two minutes on two cores."""
        target = self.folder
        with _build_folder(self.packages) as build, scratch_folder(target.parent) as made:
            env = {**os.environ, **self._settings(build)}
            env["PATH"] = os.pathsep.join([*self._tools(build), env.get("PATH", os.defpath)])
            self.packages.steps.run(
                [build / "venv" / "bin" / "python", *_pip_wheel(made / "wheel")],
                env=env,
                next_step="Look there for 'error:'; memory or disk may be short. Then try again.",
            )
            publish(made / "wheel", target)

    def install(self) -> None:
        """Installs the wheel and loads it once."""
        broken = f"Remove {self.folder} and try again."
        wheel = next(self.folder.glob("*.whl"))
        self.packages.pip(
            ["install", "--no-index", "--no-deps", "--force-reinstall", wheel], next_step=broken
        )
        loaded = "import horovod.torch as hvd; assert hvd.mpi_built() and hvd.gloo_built()"
        self.packages.steps.run([self.packages.python, "-c", loaded], next_step=broken)

    def _settings(self, build: Path) -> dict[str, str]:
        return {
            **toolchain.ensure(build / "cache"),
            "CMAKE_TOOLCHAIN_FILE": str(write_rules(build, "" if self.mpi.bin else BESIDE)),
            # CMake 4 refuses the minimum that Horovod's copy of Gloo names.
            "CMAKE_POLICY_VERSION_MINIMUM": "3.5",
            "HOROVOD_WITH_PYTORCH": "1",
            "HOROVOD_WITHOUT_TENSORFLOW": "1",
            "HOROVOD_WITHOUT_MXNET": "1",
            "HOROVOD_WITH_MPI": "1",
            "HOROVOD_WITH_GLOO": "1",
            "MAKEFLAGS": f"-j{_compilers_at_once()}",
            "TMPDIR": str(build),
        }

    def _tools(self, build: Path) -> list[str]:
        """Folders that go first on PATH: the MPI's, and CMake's where the machine has none that serves."""
        tools = [self.mpi.bin or self._copy_of_mpi(build)]
        if not _cmake_serves():
            cmake: list[str | Path] = ["--target", build / "cmake", "-c", self.packages.constraints, "cmake"]
            again = "Have CMake installed (Debian: apt-get install cmake), then try again."
            self.packages.pip(["install", *cmake], next_step=again)
            tools.append(build / "cmake" / "cmake" / "data" / "bin")
        return [str(folder) for folder in tools]

    def _copy_of_mpi(self, build: Path) -> Path:
        """Programs of the wheel of Open MPI, where no path has a space: its mpicxx tells its real path."""
        wheel = self.packages.kept(self.mpi.key)
        again = f"Remove {wheel.parent} and try again."
        argv: list[str | Path] = [
            "--no-index",
            "--no-deps",
            "--ignore-installed",
            "--prefix",
            build / "mpi",
            wheel,
        ]
        self.packages.pip(["install", *argv], next_step=again)
        return build / "mpi" / "bin"


def write_rules(folder: Path, more: str = "") -> Path:
    """The tool-chain file for CMake, and in the same folder, which holds `venv`, what that file names."""
    (folder / "rules.cmake").write_text(RULES, encoding="utf-8")
    (folder / "FindPytorch.cmake").write_text(FIND_TORCH, encoding="utf-8")
    (folder / "without-gpu").write_text(WITHOUT_GPU, encoding="utf-8")
    (folder / "without-gpu").chmod(0o755)
    toolchain_file = folder / "toolchain.cmake"
    toolchain_file.write_text(TOOLCHAIN + NO_GPU + more, encoding="utf-8")
    return toolchain_file


def _pip_wheel(folder: Path) -> list[str | Path]:
    options = ["--no-deps", "--no-build-isolation", "--no-binary", "horovod", "--no-cache-dir"]
    return ["-m", "pip", "wheel", *options, "--wheel-dir", folder, f"horovod=={VERSION}"]


@contextmanager
def _build_folder(packages: Packages) -> Iterator[Path]:
    """A folder for the build with `venv` and `cache` in it, in a path without a space: there tools split."""
    parent = str(packages.cache)
    if any(sign.isspace() for sign in parent):
        parent = "/tmp"
    with tempfile.TemporaryDirectory(prefix=BUILD, dir=parent) as folder:
        (Path(folder) / "venv").symlink_to(packages.venv)
        (Path(folder) / "cache").symlink_to(packages.cache)
        yield Path(folder)


def _compilers_at_once() -> int:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return max(1, min(len(os.sched_getaffinity(0)), int(memory_gib / GIB_PER_COMPILER)))


def _cmake_serves() -> bool:
    try:
        words = shell.run(["cmake", "--version"], timeout_s=PROBE_TIMEOUT_S).stdout.split()
    except ToolError:
        return False
    major, minor = words[2].split(".")[:2]
    return (int(major), int(minor)) >= CMAKE_NEEDED
