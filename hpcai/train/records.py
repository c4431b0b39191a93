"""What a training writes for people and programs: rank 0's metrics and log lines, and the environment."""

from __future__ import annotations

import os
import platform
import shlex
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcai.runs.files import write_json
from hpcai.runs.metrics import MetricWriter
from hpcai.runs.paths import RunPaths
from hpcai.runs.record import Run


class Records:
    """The records of one training on rank 0; on the other ranks every call does nothing."""

    def __init__(self, run_dir: Path, rank: int, attempt: int) -> None:
        self._paths = RunPaths(run_dir)
        self._attempt = attempt
        self._metrics = MetricWriter(self._paths.metrics()) if rank == 0 else None

    def say(self, words: str) -> None:
        """One line for people."""
        if self._metrics:
            sys.stdout.write(words + "\n")
            sys.stdout.flush()

    def mark(self, name: str, step: int) -> None:
        """An instant of the run's course, for the waterfall."""
        if self._metrics:
            self._metrics.mark(name, self._attempt, step)

    def log(self, step: int, **values: float | None) -> None:
        """Metrics of a step; None is left out."""
        for name, value in values.items():
            if self._metrics and value is not None:
                self._metrics.log(name, value, step)

    def environment(self, facts: Mapping[str, Any]) -> None:
        """environment.json: what the training found itself in."""
        if self._metrics:
            write_json(self._paths.environment, facts)

    def again(self) -> str:
        """Words for the command that starts this very run once more; `hpcai submit` would make another."""
        if not self._paths.script.is_file():
            return "the same command"
        by = "bash" if Run(self._paths.root).is_local else "sbatch"
        return f"`{shlex.join([by, str(self._paths.script)])}`"

    def close(self) -> None:
        if self._metrics:
            self._metrics.close()


def versions() -> dict[str, str]:
    """The versions of what computes and communicates."""
    import torch

    from hpcai import __version__

    found = {"hpcai": __version__, "python": platform.python_version(), "torch": torch.__version__}
    if "horovod" in sys.modules:
        found["horovod"] = sys.modules["horovod"].__version__
    mpi = _mpi_version()
    return {**found, "mpi": mpi} if mpi else found


def machine() -> dict[str, Any]:
    """The machine of this process."""
    return {"cpu": _cpu_model(), "cores": os.cpu_count(), "kernel": platform.release(), "gpu": _gpu_model()}


def node_name() -> str:
    """Slurm's name of this node, else the machine's own."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def _gpu_model() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _mpi_version() -> str | None:
    """What the MPI library that this process has loaded calls itself."""
    import ctypes

    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return None
    path = next((line.split()[-1] for line in maps.splitlines() if "/libmpi.so" in line), None)
    if path is None:
        return None
    text, length = ctypes.create_string_buffer(8192), ctypes.c_int()
    ctypes.CDLL(path).MPI_Get_library_version(text, ctypes.byref(length))
    return text.value.decode(errors="replace").splitlines()[0].split(", package")[0]
