"""Jobs that follow each other: what each step is, and after which others it starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpcai.specs.fields import Many, Model, Name, refuse
from hpcai.specs.job import JobSpec
from hpcai.specs.mistakes import Contradiction
from hpcai.specs.schedule import Schedule
from hpcai.specs.slurm_fields import OneLine
from hpcai.specs.yaml_text import Document

When = Literal["completed", "failed", "ended"]
ALIASES = {"jobs": "steps", "stages": "steps", "tasks": "steps"}


class StepSpec(Model):
    """One step: a job's file, or a job written out here."""

    name: Name
    file: Annotated[Path, Field(strict=False)] | None = None
    set: Many[OneLine] = ()
    """What is laid over the file, such as `nodes=4`."""
    job: dict[str, Any] | None = None
    """A job's keys but `kind` and `name`."""
    after: Many[Name] | None = None
    """None: after the step above it."""
    when: When = "completed"
    """completed: all those before it; failed: any of them; ended: all, however. Otherwise it is left out."""


class StepsSpec(Model):
    """Several jobs, each submitted at once, which Slurm starts one after the other."""

    kind: Literal["steps"] = "steps"
    name: Name
    experiment: Name = "default"
    schedule: Schedule | None = None
    """When the file is submitted anew, all steps each time."""
    steps: Many[StepSpec]

    def before(self, index: int) -> tuple[str, ...]:
        """The names of the steps after which this one starts."""
        step = self.steps[index]
        if step.after is not None:
            return step.after
        return (self.steps[index - 1].name,) if index else ()

    @model_validator(mode="after")
    def _fits_together(self) -> StepsSpec:
        refuse(contradictions(self))
        return self


def variable(step: str) -> str:
    """The variable in which a later step finds what this one left in its outputs."""
    return "HPCAI_STEP_" + step.upper().replace("-", "_").replace(".", "_")


def contradictions(spec: StepsSpec) -> Iterator[Contradiction]:
    """What in steps of valid fields cannot be meant together."""
    if not spec.steps:
        yield Contradiction(("steps",), "holds no step")
    seen: list[str] = []
    named: dict[str, str] = {}
    for index, step in enumerate(spec.steps):
        at = ("steps", index)
        if step.name in seen:
            yield Contradiction(("steps",), f"{step.name!r} is the name of a step above", (*at, "name"))
        elif (same := named.setdefault(variable(step.name), step.name)) != step.name:
            what = f"{same!r} and {step.name!r} both become {variable(step.name)}"
            yield Contradiction(("steps",), what, (*at, "name"))
        if (step.file is None) == (step.job is None):
            yield Contradiction(("steps",), "needs either file or job", at)
        if step.set and step.file is None:
            yield Contradiction(("steps",), "goes with file; a job here is changed in place", (*at, "set"))
        for position, name in enumerate(step.after or ()):
            if name not in seen:
                above = f"steps above are {', '.join(seen)}" if seen else "there is no step above"
                what = f"got {name!r}; a step can only start after one above it, and {above}"
                yield Contradiction(("steps",), what, (*at, "after", position))
        if step.when != "completed" and not spec.before(index):
            yield Contradiction(("steps",), "says nothing: no step comes before this one", (*at, "when"))
        seen.append(step.name)


@dataclass(frozen=True)
class Step:
    """A step whose job was loaded."""

    name: str
    job: JobSpec
    after: tuple[str, ...]
    when: When
    document: Document = field(repr=False, compare=False, default_factory=lambda: Document(""))
    """Where each value of the job stands."""


@dataclass(frozen=True)
class Steps:
    """All steps, each after those that it waits for."""

    name: str
    experiment: str
    steps: tuple[Step, ...]
    schedule: str | None = None
