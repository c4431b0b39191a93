"""What names a run or a job. No record is opened, so that thousands of runs are listed in an instant."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from hpcai.runs.paths import RunPaths

# Every run is made with the UTC time of its making in its name.
_STAMP = re.compile(r"-(\d{8}-\d{6})(?:-(\d+))?$")
# Slurm counts jobs from 1, and takes 0 for all of them.
_JOB_ID = re.compile(r"[1-9][0-9]{0,9}")
_SLURM_ID = re.compile(rf"{_JOB_ID.pattern}(_[0-9]{{1,10}}|_\[[0-9,:-]+\])?")


def slurm_id_of(ident: str) -> str | None:
    """`ident` when Slurm itself names jobs so: 12, 12_3 a task of an array, 12_[4-9] some; else None."""
    return ident if _SLURM_ID.fullmatch(ident) else None


def job_id_of(ident: str) -> int | None:
    """The Slurm job id that `ident` is, None for what is none."""
    return int(ident) if _JOB_ID.fullmatch(ident) else None


def unstamped(name: str) -> str:
    """The name of a run without the time of its making."""
    return _STAMP.sub("", name)


def stamp_of(name: str) -> tuple[str, int] | None:
    """The UTC second of a run's making and its place among namesakes of that second, which order runs."""
    match = _STAMP.search(name)
    return (match[1], int(match[2] or 1)) if match else None


def made_ns(folder: Path) -> int | None:
    """When the record in a folder came to stand, None for a folder that is no run or may not be read."""
    try:
        return RunPaths(folder).resolved.stat().st_mtime_ns
    except OSError:
        return None


def list_names(runs_root: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """Experiment and name of every run below the root, newest first; no root is no runs.

    Unlike `list_runs`, takes a run that has just begun to be made for one.
    """
    found = []
    for experiment, folder in _folders(os.fspath(runs_root)):
        for name, path in _folders(folder):
            age = stamp_of(name)
            # A name without a time was given by a person, as folders that are no runs are.
            if age is not None or made_ns(Path(path)) is not None:
                found.append((age or ("", 0), experiment, name))
    found.sort(reverse=True)
    return [(experiment, name) for _, experiment, name in found]


def _folders(parent: str) -> Iterator[tuple[str, str]]:
    try:
        with os.scandir(parent) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_dir():
                    yield entry.name, entry.path
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
