"""What of a job can be looked at without Slurm and its nodes: its texts, and the files that it names."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpcai.check import command, container, paths, syntax
from hpcai.check.findings import Finding
from hpcai.check.places import Sight
from hpcai.check.secrets import secrets_by_reference
from hpcai.check.told import Told
from hpcai.errors import HpcaiError, SpecError
from hpcai.render.resolved import ResolvedJob, Where, resolve_job
from hpcai.slurm.answers import NodeInfo
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site

if TYPE_CHECKING:
    from hpcai.slurm.client import SlurmClient

# What a job that ends before this one begins may still make.
_MAY_COME = ("script-missing", "image-missing", "image-no-image", "mount-missing")
# Only for what is not there Slurm is asked which machines the nodes are.
_NODES_S = 2.0


def errors_of(
    spec: JobSpec, site: Site, slurm: SlurmClient | None, where: Where = "slurm", *, is_behind: bool = False
) -> list[Finding]:
    """What surely keeps the job from running, as far as neither Slurm nor a node need tell it.

    `is_behind`: another job runs before this one.
    """
    job = _resolved(spec, site)
    # On this machine all is seen that there is.
    sight = Sight((), ("/",) if where == "local" else site.shared_folders)
    found = _of_files(job, sight, where, is_behind=is_behind)
    if where == "slurm" and any(hangs_on_nodes(one, job) for one in found):
        nodes = _nodes(slurm)
        again = _of_files(job, replace(sight, nodes=nodes or ()), where, is_behind=is_behind)
        found = [one for one in again if nodes is not None or not hangs_on_nodes(one, job)]
    return [one for one in (*of_texts(job.spec, where), *found) if one.severity == "error"]


def refuse(errors: Sequence[Finding], file: str | None = None) -> None:
    """Raises SpecError with these, if there are any; `file` is where they stand that have no place."""
    if not errors:
        return
    lines = [": ".join(filter(None, (one.place or file, one.where, one.what))) for one in errors]
    fixes = dict.fromkeys(one.fix for one in errors if one.fix)
    next_step = None if file in (None, "-") else f"`hpcai check {shlex.quote(str(file))}` shows all findings."
    raise SpecError("\n".join(lines), allowed="\n".join(fixes), next_step=next_step)


def _of_files(job: ResolvedJob, sight: Sight, where: Where, *, is_behind: bool) -> list[Finding]:
    parts = looks(job, Told(), sight, os.environ, job.pyxis_version, where=where, is_behind=is_behind)
    return paths.in_time(parts, paths.ANSWERS_WITHIN_S)


def _resolved(spec: JobSpec, site: Site) -> ResolvedJob:
    if spec.profile is not None and spec.profile.lower().startswith("auto"):
        # Which size that is, Slurm is asked when the job is handed over.
        spec = spec.model_copy(update={"profile": None})
    return resolve_job(spec, site, interpreter=Path(sys.executable))


def _nodes(slurm: SlurmClient | None) -> Sequence[NodeInfo] | None:
    """The nodes; None where Slurm does not tell them at once."""
    try:
        return slurm.within(_NODES_S).nodes() if slurm is not None else None
    except HpcaiError:
        return None


def of_texts(spec: JobSpec, where: Where = "slurm") -> Iterator[Finding]:
    """Findings about what the job gives to bash."""
    yield from syntax.check_syntax(spec)
    if where == "slurm":
        yield from command.check_launchers(spec)


def looks(
    job: ResolvedJob,
    told: Told,
    sight: Sight,
    environ: Mapping[str, str],
    release: str | None = None,
    *,
    where: Where = "slurm",
    is_behind: bool = False,
) -> dict[str, Callable[[], Iterable[Finding]]]:
    """What looks at the files that command, secrets and container name, `release` that of Pyxis.

    `is_behind`: another job runs before this one.
    """
    is_behind = is_behind or job.spec.dependency is not None
    found: dict[str, Callable[[], Iterable[Finding]]] = {
        "command": lambda: _later(command.check_command(job, sight), is_behind),
        "secrets": lambda: secrets_by_reference(job.spec, environ),
    }
    if where == "slurm":
        found["container"] = lambda: _later(
            container.check_container(job, told, sight, environ, release), is_behind
        )
    return found


def _later(found: Iterable[Finding], is_behind: bool) -> Iterator[Finding]:
    for one in found:
        may_come = is_behind and one.severity == "error" and one.id in _MAY_COME
        yield replace(one, severity="warning") if may_come else one


def hangs_on_nodes(finding: Finding, job: ResolvedJob) -> bool:
    """Whether which machines the nodes are decides how sure it is."""
    if finding.id == "script-missing":
        return (command.script_of(job.spec.command) or "").startswith("/")
    return finding.id in ("image-missing", "mount-missing", "path-closed")
