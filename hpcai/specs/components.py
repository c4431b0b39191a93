"""The parts of a heterogeneous job: each has nodes of its own kind, and all start together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from hpcai.specs.fields import Shell
from hpcai.specs.mistakes import Contradiction
from hpcai.specs.slurm_fields import ComponentFields, Count, component_contradictions
from hpcai.specs.slurm_options import slurm_options

if TYPE_CHECKING:
    from hpcai.specs.job import JobSpec

# These start as many ranks on every node, which find each other by one list of nodes.
_ALIKE = ("horovod", "torchrun", "tensorflow")


class ComponentSpec(ComponentFields):
    """What one part has of its own; what it leaves out is the job's."""

    nodes: Count | None = None  # type: ignore[assignment]
    command: Shell | None = None

    def given(self) -> dict[str, Any]:
        """The keys that it has, with their values."""
        return {key: value for key in type(self).model_fields if (value := getattr(self, key)) is not None}


@cache
def _carried() -> tuple[str, ...]:
    """The fields that sbatch takes over from one part to those behind it."""
    return tuple(
        row.field for row in slurm_options().values() if row.component == "carried" and row.field is not None
    )


def contradictions_of_components(job: JobSpec) -> Iterator[Contradiction]:
    """What in the parts of a job, or in a job of parts, cannot be meant together."""
    if len(job.components) == 1:
        yield Contradiction(("components",), "holds one part; give two or more, or its keys to the job")
    if job.array is not None:
        yield Contradiction(("array", "components"), "goes with no components: Slurm has no arrays of them")
    if job.launcher in _ALIKE:
        yield Contradiction(
            ("launcher", "components"),
            f"{job.launcher!r} needs the same tasks on every node, and components differ; take srun or mpi",
        )
    parts = job.parts
    for index, part in enumerate(parts):
        own = job.components[index].given()
        for found in component_contradictions(part):
            key = next((key for key in found.keys if key in own), None)
            at = ("components", index, key) if key else ("components", index)
            yield Contradiction(("components",), found.message, at)
        for field in _carried():
            before = [one for one in range(index) if getattr(parts[one], field) is not None]
            if before and getattr(part, field) is None:
                what = f"has no {field}, and Slurm would give it that of components[{before[-1]}]; say which"
                yield Contradiction(("components",), what, ("components", index))
