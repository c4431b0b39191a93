"""What would keep a job from starting or running, as far as it can be known before the queue."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hpcai.check import account, advice, command, paths, places, price, sizes, sure
from hpcai.check.dropped import dropped_by_pyxis, dropped_by_slurm
from hpcai.check.findings import Finding, Severity, has_errors
from hpcai.check.hidden import hidden_mounts
from hpcai.check.refused import refused_by_slurm
from hpcai.check.schedule import check_schedule
from hpcai.check.secrets import secrets_in_sight
from hpcai.check.told import Told, all_at_once
from hpcai.errors import HpcaiError, RenderError
from hpcai.render.job import render_job
from hpcai.render.resolved import ResolvedJob
from hpcai.slurm.answers import ExpectedStart
from hpcai.slurm.arrays import array_breaches
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.dependency import dependency_breaches
from hpcai.slurm.gates import gate_breaches
from hpcai.slurm.limits import Breach, breaches
from hpcai.specs.job import DataSpec, JobSpec
from hpcai.specs.mistakes import SpecFileError
from hpcai.specs.secrets import parse_reference
from hpcai.specs.site import Site
from hpcai.specs.slurm_fields import ComponentFields

# How long storage may take: when Slurm has used up the time, and at most.
_LEAST_S, _DATA_S = 0.5, 30.0


@dataclass(frozen=True)
class Surroundings:
    """All that a check of a job knows beside the job."""

    site: Site
    environ: Mapping[str, str]
    prices: Path
    """Where the prices are kept that Azure was asked for."""
    told: Told = field(default_factory=Told)
    until: float = float("inf")
    """When, by the monotonic clock, nothing is waited for any more."""

    @property
    def pyxis_release(self) -> str | None:
        """What the settings say, else what Slurm's commands and files tell."""
        return self.site.pyxis_version or self.told.pyxis_release

    @property
    def looks_s(self) -> float:
        """How long a path may take to answer."""
        return min(paths.ANSWERS_WITHIN_S, max(_LEAST_S, self.until - time.monotonic()))

    @property
    def sight(self) -> places.Sight:
        return places.Sight(self.told.nodes or (), self.site.shared_folders)


@dataclass(frozen=True)
class Checked:
    """What was found about one job, and when it would start."""

    findings: tuple[Finding, ...]
    expected: ExpectedStart | None = None


def check_job(
    job: ResolvedJob, around: Surroundings, client: SlurmClient | None, *, is_behind: bool = False
) -> Checked:
    """Everything that can be known of a job before the queue; nothing is submitted or written.

    `client` answers within what is left of the time, or there is None. `is_behind`: a step above it runs
    first.
    """
    site, told = around.site, around.told
    found = list(_refused_by_rendering(job, site.runs_root))
    found += _told_by_slurm(job.spec, told, client)
    found += sure.of_texts(job.spec)
    found += command.check_lines(job.spec)
    found += [*dropped_by_pyxis(job, around.environ), *dropped_by_slurm(job.spec, told.config)]
    found += paths.in_time(_looks(job, around, is_behind=is_behind), around.looks_s)
    found += _data_sets(job.spec, around)
    found += [*secrets_in_sight(job.spec), *hidden_mounts(job, site.runs_root)]
    found += _of_parts(job, around)
    expected = None
    if client is not None and told.partitions is not None and not has_errors(found):
        try:
            expected = _test_only(job, client)
        except HpcaiError as error:
            found += refused_by_slurm(error, job.spec)
    for part in job.spec.parts:
        size = sizes.size_of(part, told, site)
        found += price.check_price(part, size, told, around.prices, site.region)
    return Checked(tuple(dict.fromkeys(found)), expected)


def _looks(
    job: ResolvedJob, around: Surroundings, *, is_behind: bool
) -> dict[str, Callable[[], Iterable[Finding]]]:
    """What looks at paths of the job, by the key that names most of them."""
    release = around.pyxis_release
    return {
        "workdir": lambda: _folders(job, around),
        **sure.looks(job, around.told, around.sight, around.environ, release, is_behind=is_behind),
        "data": lambda: advice.slow_mounts(job),
    }


def _of_parts(job: ResolvedJob, around: Surroundings) -> Iterator[Finding]:
    """What is found about the VM size; of a heterogeneous job, of each of its parts."""
    for number, part in enumerate(job.spec.parts):
        size = sizes.size_of(part, around.told, around.site)
        found = list(sizes.check_size(part, size, nodes_told=around.told.nodes is not None))
        found += advice.advise(replace(job, spec=part), size.size, around.told, around.site.spot_partitions)
        for finding in found:
            is_own = job.spec.components and finding.where in ComponentFields.model_fields
            yield replace(finding, where=f"components[{number}].{finding.where}") if is_own else finding


def _refused_by_rendering(job: ResolvedJob, runs_root: Path) -> Iterator[Finding]:
    """What no script can carry; Slurm is not needed to see that."""
    try:
        render_job(job, runs_root / job.spec.experiment / job.spec.name)
    except RenderError as error:
        fix = " ".join(part for part in (error.allowed, error.next_step) if part)
        yield Finding("file-refused", "error", error.key or "file", error.what, fix or None)


def findings_of_file(error: SpecFileError) -> list[Finding]:
    """A finding per mistake of a file."""
    return [
        Finding("file-mistake", "error", mistake.key or "file", mistake.message, place=mistake.place)
        for mistake in error.mistakes
    ]


def _told_by_slurm(spec: JobSpec, told: Told, client: SlurmClient | None) -> Iterator[Finding]:
    if told.version is not None:
        yield from map(_of_breach, gate_breaches(spec, told.version))
    if told.partitions is not None:
        limits = breaches(
            spec, told.partitions, told.nodes or (), told.mpi_plugins, told.srun_takes_containers
        )
        yield from map(_of_breach, limits)
    if client is not None and told.partitions is not None:
        try:
            yield from [*map(_of_breach, dependency_breaches(spec.dependency, client, told.version))]
        except HpcaiError as error:
            yield from refused_by_slurm(error, spec)
    if told.config is not None:
        yield from map(_of_breach, array_breaches(spec, told.config))
    yield from check_schedule(spec.schedule, client)
    yield from account.check_account(spec, told) if told.partitions is not None else ()


def _of_breach(breach: Breach) -> Finding:
    severity: Severity = "error" if breach.is_certain else "warning"
    # A finding tells its key before its words.
    what = breach.what.removeprefix(f"{breach.key.partition('.')[0]}: ")
    return Finding(breach.id, severity, breach.key, what, breach.fix)


def _folders(job: ResolvedJob, around: Surroundings) -> Iterator[Finding]:
    root, sight = around.site.runs_root, around.sight
    refused = places.refuses_writing(root)
    if refused:
        yield refused
    entry = paths.looked_at(job.workdir)
    if entry.refused:
        yield paths.closed(job.workdir, entry.refused, "workdir", is_sure=True)
    elif not entry.is_folder:
        what = f"There is no folder {str(job.workdir)!r}."
        yield Finding("workdir-missing", "error", "workdir", what, "Correct workdir.")
    by_name = [("workdir", job.workdir), (places.RUNS, places.existing(root))]
    references = {name: parse_reference(text) for name, text in job.spec.secrets.items()}
    if job.spec.data or any(one.scheme == "keyvault" for one in references.values()):
        by_name.append(("interpreter", job.interpreter))
    by_name += [
        (f"secrets.{name}", Path(one.place)) for name, one in references.items() if one.scheme == "file"
    ]
    if job.own_secrets is not None and any(one.scheme == "env" for one in references.values()):
        by_name.append(("HPCAI_SECRETS_FOLDER", job.own_secrets))
    for name, path in by_name:
        only_here = sight.only_here(path)
        if only_here:
            yield Finding("folder-not-on-nodes", "warning", name, only_here, sight.show(path))


def _test_only(job: ResolvedJob, client: SlurmClient) -> ExpectedStart:
    with tempfile.TemporaryDirectory(prefix="hpcai-check-") as folder:
        script = Path(folder) / "script.sbatch"
        script.write_text(render_job(job, Path(folder)), encoding="utf-8")
        return client.test_only(script)


def _data_sets(spec: JobSpec, around: Surroundings) -> Iterator[Finding]:
    """What is found about the data sets, which are asked for all at once."""
    if not spec.data:
        return
    calls = {data.name: partial(_findings_of, data, around.environ) for data in spec.data}
    left_s = min(max(_LEAST_S, around.until - time.monotonic()), _DATA_S)
    answers, errors = all_at_once(calls, left_s)
    for data in spec.data:
        yield from answers.get(data.name, ())
        if data.name in errors:
            what = f"{data.source} was not read: {errors[data.name].what}"
            fix = f"hpcai data ls {shlex.quote(data.source)}  # tells"
            yield Finding("data-unread", "warning", f"data {data.name}", what, fix)


def _findings_of(data: DataSpec, environ: Mapping[str, str]) -> list[Finding]:
    return list(_data(data, environ))


def _data(data: DataSpec, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the data set is where the job would pull it from."""
    from hpcai.staging.source import open_source, read_manifest

    where = f"data {data.name}"
    try:
        manifest = read_manifest(open_source(data.source, environ), lambda _, read: read())
    except HpcaiError as error:
        fix = " ".join(part for part in (error.allowed, error.next_step) if part)
        yield Finding("data-unread", "error", where, error.what, fix or None)
        return
    if data.version is not None and not manifest.has_version(data.version):
        yield Finding(
            "data-version",
            "error",
            where,
            f"{data.source} holds version {manifest.version!r}, not {data.version!r}.",
            "Set version to what is there, or push the version that the job names.",
        )
        return
    what = f"{manifest.samples:,} samples, {manifest.bytes:,} bytes at {data.source}."
    yield Finding("data", "ok", where, what)
