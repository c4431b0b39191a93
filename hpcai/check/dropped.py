"""What a job says and nobody would read: variables of Enroot, and CPUs that Slurm does not let it spare."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from hpcai.check.findings import Finding
from hpcai.render.container import shared_image
from hpcai.render.resolved import ResolvedJob
from hpcai.specs.job import JobSpec

# Pyxis takes them out of what Enroot is given, as enroot.conf of the node alone may say them.
_OF_UNPACKING = re.compile(r"ENROOT_(LIBRARY|SYSCONF|RUNTIME|DATA)_PATH")
# These too; a job that imports its image by itself calls Enroot with them.
_OF_IMPORT = re.compile(
    r"ENROOT_((CACHE|TEMP)_PATH|ZSTD_OPTIONS|TRANSFER_RETRIES|CONNECT_TIMEOUT|MAX_CONNECTIONS|ALLOW_HTTP)"
)


def dropped_by_pyxis(job: ResolvedJob) -> Iterator[Finding]:
    """A warning for each variable under env that reaches no Enroot."""
    spec = job.spec
    if spec.container is None:
        return
    nodes = sum(part.nodes for part in spec.parts)
    imports = shared_image(spec.container, nodes, job.images, is_array=spec.array is not None) is not None
    for name in spec.env:
        if _OF_UNPACKING.fullmatch(name) or (_OF_IMPORT.fullmatch(name) and not imports):
            what = f"Pyxis takes {name} out of what Enroot is given: nothing reads it."
            fix = "Leave it out; who runs the nodes sets it in /etc/enroot/enroot.conf."
            yield Finding("variable-dropped", "warning", f"env.{name}", what, fix)


def dropped_by_slurm(spec: JobSpec, config: Mapping[str, str] | None) -> Iterator[Finding]:
    """A warning for what this Slurm's settings make sbatch pass over, in words that it prints and goes on."""
    if (config or {}).get("AllowSpecResourcesUsage", "").lower() not in ("no", "0"):
        return
    for number, part in enumerate(spec.parts):
        for key in ("core_spec", "thread_spec"):
            if getattr(part, key) is not None:
                what = f"This Slurm ignores {key}: AllowSpecResourcesUsage is No."
                fix = "Leave it out, or ask who runs this Slurm."
                is_own = spec.components and getattr(spec.components[number], key) is not None
                where = f"components[{number}].{key}" if is_own else key
                yield Finding("option-ignored", "warning", where, what, fix)
