"""What a machine has and lacks, and how a user without root comes by a compiler."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpcai.errors import ToolError, UnreachableError
from hpcai.launch import machine, toolchain
from hpcai.launch.horovod_wheel import TOOLCHAIN, _cmake_serves, write_rules
from hpcai.launch.machine import Mpi
from hpcai.launch.steps import Steps

pytestmark = pytest.mark.programs


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, for stand-ins of programs."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(path: Path, words: str) -> None:
    """A stand-in that prints these words whatever it is asked."""
    path.write_text(f"#!/bin/sh\necho '{words}'\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("mpicxx: Open MPI 4.1.4 (Language: C++)", "openmpi-4.1.4"),
        ("mpicxx: Open MPI 5.0.11 (Language: C++)", "openmpi-5.0.11"),
        ("mpicxx: Open MPI 3.1.6 (Language: C++)", None),
        ("mpicxx for MPICH version 4.0.2", None),
        ("", None),
    ],
)
def test_only_an_open_mpi_that_srun_can_start_counts(programs: Path, words: str, found: str | None) -> None:
    program(programs / "mpicxx", words)
    assert machine.system_mpi() == (Mpi(found, programs) if found else None)


@pytest.mark.usefixtures("programs")
def test_a_bare_debian_lacks_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "python_is_debians", lambda: True)
    monkeypatch.setattr(machine, "has_ensurepip", lambda: False)
    monkeypatch.setattr(machine, "has_python_headers", lambda: False)
    python = f"python{machine.python_version()}"
    assert machine.missing_debian_packages() == [
        f"{python}-venv",
        f"{python}-dev",
        "g++",
        "make",
        "libopenmpi-dev",
        "openmpi-bin",
    ]


def test_what_is_there_is_not_installed_again(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "python_is_debians", lambda: False)
    for name in ("c++", "gcc", "make"):
        program(programs / name, "")
    program(programs / "mpicxx", "mpicxx: Open MPI 4.1.4 (Language: C++)")
    assert machine.missing_debian_packages() == []


def test_root_without_a_network_is_told_so(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`apt-get update` ends with 0 although nothing answered."""
    program(programs / "apt-get", "W: Failed to fetch: Temporary failure resolving")
    monkeypatch.setattr(machine, "APT_LISTS", tmp_path / "lists")
    steps = Steps(tmp_path / "log", io.StringIO())
    with pytest.raises(
        UnreachableError, match=f"lists; '{steps.log}' holds all that it printed.\nCheck the network"
    ):
        machine.install_debian_packages(["make"], steps)


@pytest.mark.parametrize(
    ("words", "serves"),
    [("cmake version 3.25.1", True), ("cmake version 4.1.0", True), ("cmake version 3.10.2", False)],
)
def test_an_old_cmake_does_not_serve(programs: Path, words: str, serves: bool) -> None:
    program(programs / "cmake", words)
    assert _cmake_serves() is serves


def test_horovod_s_headers_find_what_gcc_13_no_longer_brings_along(tmp_path: Path) -> None:
    """As CMake calls the compiler: with the options that the tool-chain file adds."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no compiler on this machine")
    found = re.search(r'CMAKE_CXX_FLAGS_INIT "(.*)"', TOOLCHAIN)
    assert found is not None
    source = tmp_path / "common.cc"
    source.write_text('std::uint8_t f() { throw std::logic_error("from common.h"); }\n')
    subprocess.run([compiler, *found[1].split(), "-fsyntax-only", source], check=True, timeout=60)


# As Horovod's own project asks torch, and looks for CUDA.
ASKS_TORCH = """
cmake_minimum_required(VERSION 3.13)
project(horovod CXX)
set(CMAKE_MODULE_PATH ${CMAKE_MODULE_PATH} "${PROJECT_SOURCE_DIR}/cmake/Modules")
set(PY_EXE python3)
include(CheckLanguage)
check_language(CUDA)
find_package(CUDAToolkit)
find_package(Pytorch REQUIRED)
set(told "${Pytorch_CUDA}, ${CMAKE_CUDA_COMPILER}, ${CUDAToolkit_FOUND}, ${PY_EXE}")
file(WRITE "${CMAKE_BINARY_DIR}/told" "${told}")
"""
FIND_TORCH = """
execute_process(COMMAND ${PY_EXE} -c "import torch; print(torch.version.cuda is not None)"
                OUTPUT_VARIABLE Pytorch_CUDA OUTPUT_STRIP_TRAILING_WHITESPACE)
set(Pytorch_FOUND TRUE)
return()
"""


def test_horovod_is_built_for_processors_where_torch_is_one_for_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not _cmake_serves():
        pytest.skip("no CMake that serves on this machine")
    build, source, torch = (tmp_path / name for name in ("build", "source", "packages/torch"))
    for folder in (build, source / "cmake/Modules", torch):
        folder.mkdir(parents=True)
    (torch / "__init__.py").write_text("from torch import version\n")
    (torch / "version.py").write_text("cuda = '13.0'\nhip = None\n")
    (source / "CMakeLists.txt").write_text(ASKS_TORCH)
    (source / "cmake/Modules/FindPytorch.cmake").write_text(FIND_TORCH)
    (build / "venv").symlink_to(sys.prefix)
    monkeypatch.setenv("PYTHONPATH", str(torch.parent))
    monkeypatch.setenv("CMAKE_TOOLCHAIN_FILE", str(write_rules(build)))
    argv = ["cmake", "-S", source, "-B", build / "made", "-Wno-dev"]
    subprocess.run(argv, check=True, timeout=60, capture_output=True)
    assert (build / "made/told").read_text() == "False, NOTFOUND, , python3"


def test_no_cmake_does_not_serve(programs: Path) -> None:
    assert list(programs.iterdir()) == []
    assert not _cmake_serves()


def test_with_all_installed_a_build_needs_no_variables(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("c++", "gcc", "make"):
        program(programs / name, "")
    monkeypatch.setattr(machine, "has_python_headers", lambda: True)
    assert toolchain.ensure(tmp_path) == {}


def test_a_compiler_that_no_network_brings_is_no_tool_s_fault(programs: Path, tmp_path: Path) -> None:
    for name in ("apt-get", "dpkg-deb"):
        program(programs / name, "")
    with pytest.raises(UnreachableError, match="package lists"):
        toolchain.ensure(tmp_path)


@pytest.mark.usefixtures("programs")
def test_without_apt_the_packages_to_ask_for_are_named(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="lacks a C\\+\\+ compiler and make") as caught:
        toolchain.ensure(tmp_path)
    assert "apt-get install g++ make" in str(caught.value)


def test_a_python_of_ones_own_without_headers_is_told_so(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("c++", "gcc", "make"):
        program(programs / name, "")
    monkeypatch.setattr(machine, "has_python_headers", lambda: False)
    monkeypatch.setattr(machine, "python_is_debians", lambda: False)
    with pytest.raises(ToolError, match=r"lacks the header Python\.h of /"):
        toolchain.ensure(tmp_path)


@pytest.mark.long
def test_the_unpacked_compiler_makes_a_program_and_an_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("no apt on this machine")
    monkeypatch.setattr(machine, "has_compiler", lambda: False)
    (tmp_path / "a cache").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a cache")
    env = {**os.environ, **toolchain.ensure(tmp_path / "link")}
    source = tmp_path / "hello.cc"
    source.write_text('#include <iostream>\nint main() { std::cout << "hello\\n"; }\n')
    (tmp_path / "Makefile").write_text(
        "hello: hello.o\n\tg++ -o $@ $<\nlib.a: hello.o\n\t$(MAKE) -v\n\tar rc $@ $<\n"
    )
    subprocess.run(["make", "hello", "lib.a"], cwd=tmp_path, env=env, check=True, timeout=120)
    done = subprocess.run([tmp_path / "hello"], capture_output=True, text=True, check=True, timeout=10)
    assert done.stdout == "hello\n"
