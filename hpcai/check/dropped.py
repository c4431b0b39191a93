"""Variables of a job that nobody would read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hpcai.check.findings import Finding
from hpcai.render.container import shared_image
from hpcai.render.resolved import ResolvedJob

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
