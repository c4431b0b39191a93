"""What would keep a job from starting or running, as far as it can be known before the queue."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcai.check import places
from hpcai.check.findings import Finding, has_errors
from hpcai.check.secrets import secrets_by_reference, secrets_in_env
from hpcai.errors import HpcaiError
from hpcai.render.job import ResolvedJob, render_job
from hpcai.slurm import scrontab
from hpcai.slurm.answers import ExpectedStart, NodeInfo
from hpcai.slurm.arrays import array_breaches
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.dependency import dependency_breach
from hpcai.slurm.gates import gate_breaches
from hpcai.slurm.limits import breaches
from hpcai.specs.job import DataSpec
from hpcai.specs.mistakes import SpecFileError
from hpcai.specs.secrets import parse_reference


@dataclass(frozen=True)
class Checked:
    """What was found about one job, and when it would start."""

    findings: tuple[Finding, ...]
    expected: ExpectedStart | None = None


def check_job(
    job: ResolvedJob, client: SlurmClient | None, *, runs_root: Path, environ: Mapping[str, str]
) -> Checked:
    """Everything that can be known of a job before the queue; nothing is submitted or written.

    Raises RenderError.
    """
    findings = [finding for data in job.spec.data for finding in _data(data, environ)]
    findings += secrets_in_env(job.spec)
    findings += secrets_by_reference(job.spec, environ)
    refused = places.refuses_writing(runs_root)
    findings += [refused] if refused else []
    # Raises RenderError for what no script can carry; Slurm is not needed to see that.
    render_job(job, runs_root / job.spec.experiment / job.spec.name)
    if client is None:
        findings.append(Finding("warning", "slurm", "There is no Slurm here: its limits were not looked at."))
        return Checked(tuple(findings))
    try:
        in_slurm = _in_slurm(job, client, runs_root)
    except HpcaiError as error:
        in_slurm = Checked((finding_of_error("slurm", error),))
    return Checked((*in_slurm.findings, *findings), in_slurm.expected)


def findings_of_file(error: SpecFileError) -> list[Finding]:
    """A finding per mistake of a file."""
    return [
        Finding(
            "error", mistake.place, f"{mistake.key}: {mistake.message}" if mistake.key else mistake.message
        )
        for mistake in error.mistakes
    ]


def finding_of_error(where: str, error: HpcaiError) -> Finding:
    """An error as a finding."""
    fix = " ".join(part for part in (error.allowed, error.next_step) if part)
    return Finding("error", where, error.what, fix or None)


def _in_slurm(job: ResolvedJob, client: SlurmClient, runs_root: Path) -> Checked:
    nodes = client.nodes()
    mpi_plugins = client.mpi_plugins() if job.spec.needs_pmix else None
    has_pyxis = client.has_pyxis() if job.spec.container is not None else None
    limits = breaches(job.spec, client.partitions(), nodes, mpi_plugins, has_pyxis)
    of_array = array_breaches(job.spec, client.config()) if job.spec.array is not None else ()
    found = [
        Finding("error" if breach.is_certain else "warning", breach.key, breach.what, breach.fix)
        for breach in (*gate_breaches(job.spec, client.version()), *of_array, *limits)
    ]
    never = dependency_breach(job.spec.dependency, client)
    found += [Finding("error", never.key, never.what, never.fix)] if never else []
    found += schedule_findings(job.spec.schedule, client)
    found += _places(job, runs_root, nodes)
    if has_errors(found):
        return Checked(tuple(found))
    try:
        return Checked(tuple(found), _test_only(job, client))
    except HpcaiError as error:
        return Checked((*found, finding_of_error("sbatch --test-only", error)))


def schedule_findings(schedule: str | None, client: SlurmClient | None) -> list[Finding]:
    """Whether this Slurm takes the schedule of a file."""
    if schedule is None or client is None:
        return []
    try:
        scrontab.read(client)
    except HpcaiError as error:
        return [finding_of_error("schedule", error)]
    return []


def _places(job: ResolvedJob, runs_root: Path, nodes: Sequence[NodeInfo]) -> Iterator[Finding]:
    if not job.workdir.is_dir():
        yield Finding("error", "workdir", f"There is no folder {str(job.workdir)!r}.", "Correct workdir.")
    by_name = [("workdir", job.workdir), ("HPCAI_RUNS_ROOT", runs_root)]
    references = [parse_reference(text) for text in job.spec.secrets.values()]
    if job.spec.data or any(one.scheme == "keyvault" for one in references):
        by_name.append(("interpreter", job.interpreter))
    by_name += [("secrets", Path(one.place)) for one in references if one.scheme == "file"]
    if job.own_secrets is not None and any(one.scheme == "env" for one in references):
        by_name.append(("HPCAI_SECRETS_FOLDER", job.own_secrets))
    for name, path in by_name:
        finding = places.seen_by_nodes(name, path, nodes)
        if finding is not None:
            yield finding


def _test_only(job: ResolvedJob, client: SlurmClient) -> ExpectedStart:
    with tempfile.TemporaryDirectory(prefix="hpcai-check-") as folder:
        script = Path(folder) / "script.sbatch"
        script.write_text(render_job(job, Path(folder)), encoding="utf-8")
        return client.test_only(script)


def _data(data: DataSpec, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the data set is where the job would pull it from."""
    from hpcai.staging.source import open_source, read_manifest

    where = f"data {data.name}"
    try:
        manifest = read_manifest(open_source(data.source, environ), lambda _, read: read())
    except HpcaiError as error:
        yield finding_of_error(where, error)
        return
    if data.version is not None and not manifest.has_version(data.version):
        yield Finding(
            "error",
            where,
            f"{data.source} holds version {manifest.version!r}, not {data.version!r}.",
            "Set version to what is there, or push the version that the job names.",
        )
        return
    yield Finding("ok", where, f"{manifest.samples:,} samples, {manifest.bytes:,} bytes at {data.source}.")
