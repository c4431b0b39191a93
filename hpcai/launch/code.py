"""The code that a job runs from: a snapshot of its folder, taken when the job is submitted."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpcai.render.resolved import ResolvedJob
from hpcai.runs import files, snapshot, sources
from hpcai.runs.jsonl import cannot_write
from hpcai.runs.paths import RunPaths
from hpcai.runs.record import Run
from hpcai.runs.snapshot import Snapshot

# A longer one is only told of: the snapshot holds all of it.
_MOST_DIFF = 2 * 2**20


def kept(
    job: ResolvedJob, experiment: Path, parent: Run | None = None
) -> tuple[ResolvedJob, Callable[[RunPaths], None] | None]:
    """The job with its folders in the snapshot, and what notes in its record where that came from.

    The code of a `parent` comes from where that run's came from.
    A job without `code:` stays as it is. Raises StageError for code that cannot be read or kept.
    """
    if job.code is None:
        return job, None
    origin = job.code.absolute()
    diff = sources.changes(origin)
    found = sources.provenance(origin)
    taken = snapshot.take(origin, experiment)
    inside = Path(os.path.normpath(job.workdir.absolute())).relative_to(os.path.normpath(origin))
    moved = dataclasses.replace(job, code=taken.path, workdir=taken.path / inside)
    if parent is not None and parent.paths.code.exists() and origin.samefile(parent.paths.code):
        return moved, lambda paths: _note_again(paths, taken, parent.paths)
    return moved, lambda paths: _note(paths, origin, taken, found, diff)


def _note(paths: RunPaths, origin: Path, taken: Snapshot, found: dict[str, Any], diff: str) -> None:
    facts = {"tree": taken.tree, "folder": str(origin), "files": taken.files, "bytes": taken.bytes, **found}
    size = len(diff.encode("utf-8", "replace"))
    if diff:
        facts["diff_bytes"] = size
    files.write_json(paths.code_facts, facts)
    if 0 < size <= _MOST_DIFF:
        files.write_text(paths.code_diff, diff)
    _link(paths, taken)


def _note_again(paths: RunPaths, taken: Snapshot, parent: RunPaths) -> None:
    files.write_json(paths.code_facts, files.read_json(parent.code_facts))
    with suppress(FileNotFoundError):
        files.write_bytes(paths.code_diff, parent.code_diff.read_bytes())
    _link(paths, taken)


def _link(paths: RunPaths, taken: Snapshot) -> None:
    try:
        paths.code.symlink_to(os.path.relpath(taken.path, paths.root))
    except OSError as error:
        raise cannot_write(paths.code, error) from error
