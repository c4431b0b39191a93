"""Mounts of a container that lie over one another: what is below is there, and nobody sees it."""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hpcai.check.findings import Finding
from hpcai.render.resolved import ResolvedJob

FIX = "Give it another target; of mounts within each other, the outer one goes first."


class _Mount(NamedTuple):
    source: str
    target: str
    name: str


def hidden_mounts(job: ResolvedJob, runs: Path) -> Iterator[Finding]:
    """A warning for each mount behind which another, the work folder or the runs folder is not to be seen."""
    if job.spec.container is None:
        return
    workdir = str(job.workdir)
    before = [_Mount(str(runs), str(runs), "the runs folder"), _Mount(workdir, workdir, "the work folder")]
    before += [_mount(one, workdir) for one in job.mounts]
    mounts = job.spec.container.mounts
    for index, what in hidden(mounts, workdir, before):
        yield Finding("mount-hidden", "warning", f"container.mounts[{index}]", what, FIX)


def hidden(mounts: Sequence[str], workdir: str, before: Sequence[_Mount] = ()) -> Iterator[tuple[int, str]]:
    """Which of the mounts hide an earlier one, and what is to be said of them."""
    seen = list(before)
    for index, text in enumerate(mounts):
        mount = _mount(text, workdir)
        if mount.source == "umount" or not mount.target.startswith("/"):
            continue
        behind = [one for one in seen if _hides(mount, one)]
        seen.append(mount)
        if behind:
            yield index, f"{text!r} is mounted over {behind[-1].name}, which nobody then sees."


def _mount(text: str, workdir: str) -> _Mount:
    source, _, rest = text.partition(":")
    target = rest.partition(":")[0] or source
    whole = os.path.normpath(f"{workdir}/{source}") if source.startswith(".") else source
    return _Mount(whole, os.path.normpath(target), repr(text))


def _hides(mount: _Mount, one: _Mount) -> bool:
    """Whether a mount takes the place of an earlier one and does not show the same there."""
    if not Path(one.target).is_relative_to(mount.target):
        return False
    within = os.path.relpath(one.target, mount.target)
    return os.path.normpath(Path(mount.source) / within) != os.path.normpath(one.source)
