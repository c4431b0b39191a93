"""What of a job can be looked at without Slurm and its nodes: its texts, and the files that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from hpcai.check import command, container, syntax
from hpcai.check.findings import Finding
from hpcai.check.places import Sight
from hpcai.check.told import Told
from hpcai.render.resolved import ResolvedJob, Where
from hpcai.specs.job import JobSpec

# What a job that ends before this one begins may still make.
_MAY_COME = ("script-missing", "image-missing", "image-no-image", "mount-missing")


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
    """What looks at the files that the command and the container name, `release` that of Pyxis.

    `is_behind`: another job runs before this one.
    """
    is_behind = is_behind or job.spec.dependency is not None
    found: dict[str, Callable[[], Iterable[Finding]]] = {
        "command": lambda: _later(command.check_command(job, sight), is_behind),
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
