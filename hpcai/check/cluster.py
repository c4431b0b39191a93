"""What would keep a cluster's file from becoming a CycleCloud cluster, as far as the file alone tells."""

from __future__ import annotations

import json

from hpcai.check.findings import Finding
from hpcai.render.cluster import open_parameters, render_cluster
from hpcai.specs.cluster import ClusterSpec


def check_cluster(spec: ClusterSpec) -> list[Finding]:
    """What rendering tells; CycleCloud is not asked. Raises RenderError."""
    template, parameters = render_cluster(spec)
    found = []
    still_open = open_parameters(spec)
    if still_open:
        what = f"Still to fill in before the cluster can start: {', '.join(still_open)}."
        found.append(
            Finding(
                "cluster-open",
                "warning",
                "parameters",
                what,
                "Set them in the file, with --set, or in CycleCloud.",
            )
        )
    lines, values = template.count("\n"), len(json.loads(parameters))
    arrays = ", ".join(array.name for array in spec.nodearrays)
    what = (
        f"Renders to {lines} lines and {values} parameters (nodearrays: {arrays}); CycleCloud was not asked."
    )
    return [*found, Finding("cluster-renders", "ok", "template", what)]
