"""What a job says and nobody would heed: variables of Enroot, what Pyxis and Slurm pass over."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from hpcai.check.findings import Finding
from hpcai.render.container import shared_image
from hpcai.render.resolved import ResolvedJob
from hpcai.slurm.plugstack import pyxis_options
from hpcai.specs.job import JobSpec

# Pyxis takes them out of what Enroot is given, as enroot.conf of the node alone may say them.
_OF_UNPACKING = re.compile(r"ENROOT_(LIBRARY|SYSCONF|RUNTIME|DATA)_PATH")
# These too; a job that imports its image by itself calls Enroot with them.
_OF_IMPORT = re.compile(
    r"ENROOT_((CACHE|TEMP)_PATH|ZSTD_OPTIONS|TRANSFER_RETRIES|CONNECT_TIMEOUT|MAX_CONNECTIONS|ALLOW_HTTP)"
)


def dropped_by_pyxis(job: ResolvedJob, environ: Mapping[str, str]) -> Iterator[Finding]:
    """A warning for each variable under env that reaches no Enroot, and for a log of what is not run."""
    spec = job.spec
    if spec.container is None:
        return
    runs = pyxis_options(environ).get("execute_entrypoint", "0").lower() in ("1", "true", "yes", "y")
    if spec.container.entrypoint_log and spec.container.entrypoint is None and not runs:
        what = "Pyxis runs an image's entrypoint only where it is asked to: there is nothing to log."
        fix = "Set container.entrypoint to true, or leave entrypoint_log out."
        yield Finding("option-ignored", "warning", "container.entrypoint_log", what, fix)
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
