"""The findings of this site, and the file that keeps its facts."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from hpcai.cli.check import Look, look
from hpcai.cli.context import Context

if TYPE_CHECKING:
    from hpcai.check.findings import Finding
    from hpcai.check.site_file import Facts


def look_at_site(context: Context, *, on_nodes: bool, writes: bool) -> Look:
    """What is there and what is missing, part by part."""
    from hpcai.check.findings import Finding
    from hpcai.check.site import check_site, check_without_slurm
    from hpcai.errors import StageError, ToolError

    try:
        client = context.client
    except ToolError as error:
        fix = " ".join(part for part in (error.allowed, error.next_step) if part)
        found = [Finding("slurm", "error", "slurm", error.what, fix or None)]
        return Look([*found, *check_without_slurm(context.site, environ=os.environ)], error.exit_status)
    seen = check_site(context.site, client, environ=os.environ, on_nodes=on_nodes)
    if seen.is_silent:
        return Look(seen.findings, 6)
    if not writes:
        return look([*seen.findings, *_kept(context)])
    try:
        return look([*seen.findings, _written(seen.facts)])
    except StageError as error:
        unwritten = Finding("site-file", "error", "site.yaml", error.what, error.next_step)
        return Look([*seen.findings, unwritten], error.exit_status)


def _kept(context: Context) -> list[Finding]:
    """Which facts of an earlier call hold now."""
    from hpcai.check.findings import Finding

    used = [
        key
        for key, origin in context.site.settings.origins.items()
        if origin.partition(":")[0].endswith("/site.yaml")
    ]
    if not used:
        return []
    return [Finding("site-file", "ok", "site.yaml", f"Says {', '.join(used)}; --write finds out anew.")]


def _written(facts: Facts) -> Finding:
    from hpcai.check.findings import Finding
    from hpcai.check.site_file import write
    from hpcai.homes import config_home

    path = config_home(os.environ) / "site.yaml"
    write(facts, path, time.time())
    keys = ", ".join(facts.values) or "nothing that a setting could hold"
    return Finding("site-file", "ok", "site.yaml", f"{path} now says {keys}.")
