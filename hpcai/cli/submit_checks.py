"""What `hpcai submit` refuses before anything is written: errors that neither Slurm nor a node need tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hpcai.cli.context import Context

if TYPE_CHECKING:
    from hpcai.check.findings import Finding
    from hpcai.render.resolved import Where
    from hpcai.specs.job import JobSpec
    from hpcai.specs.yaml_text import Document


class Given(NamedTuple):
    """One job that is about to be submitted."""

    spec: JobSpec
    document: Document
    step: str | None = None
    is_behind: bool = False
    """Whether another one of the same file runs before it."""


def refuse_errors(jobs: Sequence[Given], file: Path, context: Context, where: Where) -> None:
    """Raises SpecError with all that surely keeps these jobs from running."""
    from hpcai.check.sure import refuse

    refuse([finding for job in jobs for finding in _errors(job, context, where)], str(file))


def _errors(given: Given, context: Context, where: Where) -> Iterator[Finding]:
    from hpcai.check.marked import with_places
    from hpcai.check.sure import errors_of

    errors = errors_of(given.spec, context.site, context.slurm, where, is_behind=given.is_behind)
    for one in with_places(errors, given.document):
        yield one if given.step is None else replace(one, where=f"{given.step}: {one.where}")
