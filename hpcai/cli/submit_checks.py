"""What `hpcai submit` refuses before anything is written: errors that neither Slurm nor a node need tell."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hpcai.cli.context import Context

if TYPE_CHECKING:
    from hpcai.check.findings import Finding
    from hpcai.check.places import Sight
    from hpcai.render.resolved import ResolvedJob, Where
    from hpcai.slurm.answers import NodeInfo
    from hpcai.specs.job import JobSpec
    from hpcai.specs.yaml_text import Document

# Only for what is not there Slurm is asked which machines the nodes are.
_NODES_S = 2.0


class Given(NamedTuple):
    """One job that is about to be submitted."""

    spec: JobSpec
    document: Document
    step: str | None = None
    is_behind: bool = False
    """Whether another one of the same file runs before it."""


def refuse_errors(jobs: Sequence[Given], file: Path, context: Context, where: Where) -> None:
    """Raises SpecError with all that surely keeps these jobs from running."""
    found = [finding for job in jobs for finding in _errors(job, context, where)]
    if not found:
        return
    from hpcai.errors import SpecError

    lines = [f"{one.place or file}: {one.where}: {one.what}" for one in found]
    fixes = dict.fromkeys(one.fix for one in found if one.fix)
    tells = "`hpcai check FILE` shows all findings.".replace("FILE", shlex.quote(str(file)))
    raise SpecError("\n".join(lines), allowed="\n".join(fixes), next_step=None if str(file) == "-" else tells)


def _errors(given: Given, context: Context, where: Where) -> list[Finding]:
    from hpcai.check.marked import with_places
    from hpcai.check.places import Sight
    from hpcai.check.sure import hangs_on_nodes, of_texts

    job = _resolved(given.spec, context)
    # On this machine all is seen that there is.
    sight = Sight((), ("/",) if where == "local" else context.site.shared_folders)
    found = _of_files(job, sight, given, where)
    if where == "slurm" and any(hangs_on_nodes(one, job) for one in found):
        nodes = _nodes(context)
        again = _of_files(job, replace(sight, nodes=nodes or ()), given, where)
        found = [one for one in again if nodes is not None or not hangs_on_nodes(one, job)]
    errors = [one for one in (*of_texts(job.spec, where), *found) if one.severity == "error"]
    placed = with_places(errors, given.document)
    if given.step is None:
        return placed
    return [replace(one, where=f"{given.step}: {one.where}") for one in placed]


def _of_files(job: ResolvedJob, sight: Sight, given: Given, where: Where) -> list[Finding]:
    from hpcai.check import paths
    from hpcai.check.sure import looks
    from hpcai.check.told import Told

    parts = looks(job, Told(), sight, os.environ, job.pyxis_version, where=where, is_behind=given.is_behind)
    return paths.in_time(parts, paths.ANSWERS_WITHIN_S)


def _resolved(spec: JobSpec, context: Context) -> ResolvedJob:
    from hpcai.render.resolved import resolve_job

    if spec.profile is not None and spec.profile.lower().startswith("auto"):
        # Which size that is, Slurm is asked when the job is handed over.
        spec = spec.model_copy(update={"profile": None})
    return resolve_job(spec, context.site, interpreter=Path(sys.executable))


def _nodes(context: Context) -> Sequence[NodeInfo] | None:
    """The nodes; None where Slurm does not tell them at once."""
    from hpcai.errors import HpcaiError

    try:
        return context.slurm.within(_NODES_S).nodes() if context.slurm is not None else None
    except HpcaiError:
        return None
