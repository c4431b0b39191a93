"""The findings of files: each is read, loaded and held against what Slurm tells, which is asked once."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from hpcai.cli.check import Look, look
from hpcai.cli.context import Context

if TYPE_CHECKING:
    from hpcai.check.findings import Finding, Severity
    from hpcai.check.job import Checked, Surroundings
    from hpcai.check.told import Told
    from hpcai.errors import HpcaiError
    from hpcai.slurm.answers import ExpectedStart
    from hpcai.slurm.client import SlurmClient
    from hpcai.specs.job import JobSpec
    from hpcai.specs.steps import Steps
    from hpcai.specs.yaml_text import Document

# An end of time that Slurm tells when a job without a time limit stands before this one.
_FAR_S = 365 * 86400
# What is left of a deadline is enough for one more question.
_LEAST_S = 0.4


def look_at_all(
    files: Sequence[Path], overrides: tuple[str, ...], context: Context, timeout_s: float | None
) -> dict[str, Look]:
    """The findings by file. What keeps one from being read hides no other file's."""
    check = _Check(context, timeout_s)
    return {str(file): check.file(file, overrides) for file in files}


@dataclass
class _Check:
    """One call of `hpcai check`; its deadline holds for all that Slurm is asked."""

    context: Context
    timeout_s: float | None
    begun: float = field(default_factory=time.monotonic)

    @cached_property
    def told(self) -> Told:
        """What Slurm says; nothing where there is none."""
        from hpcai.check.told import DEADLINE_S, Told, ask

        if self.context.slurm is None:
            return Told()
        return ask(self.context.slurm, self.timeout_s or DEADLINE_S)

    @property
    def client(self) -> SlurmClient | None:
        """Slurm, for what is left of the time; None where it does not answer, or refuses, anyway."""
        from hpcai.check.slurm_itself import without_plugin
        from hpcai.check.told import DEADLINE_S

        if self.context.slurm is None or self.told.partitions is None:
            return None
        if list(without_plugin("slurm", self.told.errors.values())):
            return None
        left_s = (self.timeout_s or DEADLINE_S) - (time.monotonic() - self.begun)
        return self.context.slurm.within(max(_LEAST_S, left_s))

    @property
    def around(self) -> Surroundings:
        from hpcai.check.job import Surroundings
        from hpcai.check.told import DEADLINE_S
        from hpcai.specs.site import cache_dir

        prices = cache_dir() / "prices.json"
        told = self.told
        until = self.begun + (self.timeout_s or DEADLINE_S)
        return Surroundings(self.context.site, os.environ, prices, told, until)

    def file(self, file: Path, overrides: tuple[str, ...]) -> Look:
        from hpcai.check.job import findings_of_file
        from hpcai.check.paths import PathSilent, finding_of
        from hpcai.errors import NotFoundError, RenderError, SpecError, UsageError
        from hpcai.specs.load import read
        from hpcai.specs.mistakes import SpecFileError

        try:
            return look(self._findings(file, read(file), overrides))
        except SpecFileError as error:
            return look(findings_of_file(error))
        except PathSilent as error:
            return look([finding_of(error, "file")])
        except (RenderError, SpecError) as error:
            return look([_of_error("file-refused", error)])
        except (NotFoundError, UsageError) as error:
            return Look([_of_error("file-unread", error)], error.exit_status)

    def _findings(self, file: Path, text: str, overrides: tuple[str, ...]) -> list[Finding]:
        from hpcai.check.cluster import check_cluster
        from hpcai.check.paths import answer_of
        from hpcai.check.script import check_script
        from hpcai.errors import UsageError
        from hpcai.slurm.sbatch_lines import is_script
        from hpcai.specs.cluster import ClusterSpec
        from hpcai.specs.job import JobSpec
        from hpcai.specs.load import kind_of, open_text
        from hpcai.specs.load_steps import load_steps

        settings = self.context.site.settings
        if is_script(file, text):
            if overrides:
                raise UsageError("--set sets keys of a YAML file, and a script has none.")
            checked = check_script(text, file, self.around, self.client)
            return [*self._slurm(), *_with_start(checked, "No error was found")]
        if kind_of(text, str(file)) == "steps":
            load = partial(load_steps, text, str(file), overrides, settings)
            return self._steps(answer_of(load, _LEAST_S))
        base = file.absolute().parent
        opening = partial(open_text, text, str(file), overrides, settings=settings, base=base)
        opened = answer_of(opening, _LEAST_S)
        if isinstance(opened.spec, ClusterSpec):
            return check_cluster(opened.spec)
        assert isinstance(opened.spec, JobSpec)
        return [*self._slurm(), *self._job(opened.spec, opened.document)]

    def _slurm(self) -> list[Finding]:
        """What is to be said of Slurm itself, at each file: who reads of one may not read of the others."""
        from hpcai.check.slurm_itself import slurm_as_a_whole

        return list(slurm_as_a_whole(self.told, is_there=self.context.slurm is not None))

    def _steps(self, steps: Steps) -> list[Finding]:
        """What is found for the schedule, and for the job of each step, which is named."""
        from hpcai.check.schedule import check_schedule

        found = [*self._slurm(), *check_schedule(steps.schedule, self.client)]
        for step in steps.steps:
            found += [
                dataclasses.replace(finding, where=f"{step.name}: {finding.where}")
                for finding in self._job(step.job, step.document, is_behind=bool(step.after))
            ]
        return found

    def _job(self, spec: JobSpec, document: Document, *, is_behind: bool = False) -> list[Finding]:
        from hpcai.check.findings import Finding
        from hpcai.check.job import check_job
        from hpcai.check.marked import with_places
        from hpcai.errors import NotFoundError
        from hpcai.render.resolved import resolve_job
        from hpcai.slurm.vm_size import with_profile

        told, site = self.told, self.context.site
        try:
            sized = with_profile(spec, site.partitions, told.partitions, told.nodes)
        except NotFoundError as error:
            # Slurm that did not answer is no mistake of the file.
            severity: Severity = "warning" if told.partitions is None else "error"
            untold = Finding("profile-untold", severity, "profile", error.what, _fix(error))
            return with_places([untold, *self._unsized(spec)], document)
        plugins = told.mpi_plugins
        site = dataclasses.replace(site, pyxis_version=site.pyxis_version or told.pyxis_release)
        job = resolve_job(
            sized, site, interpreter=Path(sys.executable), has_pmix=plugins is None or "pmix" in plugins
        )
        checked = check_job(job, self.around, self.client, is_behind=is_behind)
        return with_places(_with_start(checked), document)

    def _unsized(self, spec: JobSpec) -> list[Finding]:
        """The findings of a job whose profile is not known: what would follow from one is left out."""
        from hpcai.check.job import check_job
        from hpcai.render.resolved import resolve_job

        plain = spec.model_copy(update={"profile": None})
        job = resolve_job(plain, self.context.site, interpreter=Path(sys.executable))
        return list(check_job(job, self.around, None).findings)


def _of_error(ident: str, error: HpcaiError) -> Finding:
    from hpcai.check.findings import Finding
    from hpcai.errors import RenderError

    where = error.key if isinstance(error, RenderError) and error.key else "file"
    return Finding(ident, "error", where, error.what, _fix(error))


def _fix(error: HpcaiError) -> str | None:
    return " ".join(part for part in (error.allowed, error.next_step) if part) or None


def _with_start(checked: Checked, so_far: str = "Renders") -> list[Finding]:
    """The findings of a job, and at their end, when nothing speaks against it, when it would start."""
    from hpcai.check.findings import Finding, has_errors

    found = list(checked.findings)
    if has_errors(found):
        return found
    if checked.expected is None:
        what = f"{so_far}; when it would start only Slurm can tell."
        return [*found, Finding("script-renders", "ok", "script", what)]
    return [*found, Finding("start", "ok", "start", _start(checked.expected))]


def _start(expected: ExpectedStart) -> str:
    from hpcai.cli.words import moment

    now = time.time()
    if expected.start_time - now > _FAR_S:
        where = f"In partition {expected.partition}, and" if expected.partition else "It could start, and"
        return f"{where} Slurm cannot tell when."
    return f"{moment(max(expected.start_time, now), now)} on {expected.node_list}, says Slurm."
