"""What of a job can be looked at without Slurm and its nodes: its texts, and the files that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from hpcai.check import command, container, syntax
from hpcai.check.findings import Finding
from hpcai.check.places import Sight
from hpcai.check.told import Told
from hpcai.render.resolved import ResolvedJob, Where

# What a job that ends before this one begins may still make.
_MAY_COME = ("script-missing", "image-missing", "image-no-image", "mount-missing")


def of_texts_and_files(
    job: ResolvedJob,
    told: Told,
    sight: Sight,
    environ: Mapping[str, str],
    *,
    where: Where = "slurm",
    is_behind: bool = False,
) -> Iterator[Finding]:
    """Findings about command, setup, container and the files that they name.

    `is_behind`: another job runs before this one.
    """
    found = [*syntax.check_syntax(job.spec), *command.check_command(job, sight)]
    if where == "slurm":
        found += command.check_launchers(job.spec)
        found += container.check_container(job, told, sight, environ)
    is_behind = is_behind or job.spec.dependency is not None
    for one in found:
        may_come = is_behind and one.severity == "error" and one.id in _MAY_COME
        yield replace(one, severity="warning") if may_come else one


def hangs_on_nodes(finding: Finding, job: ResolvedJob) -> bool:
    """Whether which machines the nodes are decides how sure it is."""
    if finding.id == "script-missing":
        return (command.script_of(job.spec.command) or "").startswith("/")
    return finding.id in ("image-missing", "mount-missing")
