"""What is to be said of Slurm itself: that it is away, or does not work here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hpcai.check.findings import Finding, Severity
from hpcai.check.told import NAMES, Told
from hpcai.errors import HpcaiError

# What srun and sbatch say, each in its own way, when plugstack.conf requires what cannot be loaded.
_NO_PLUGIN = re.compile("Incompatible Slurm plugin|Plug-in init.* failed|Failed to initialize plugin stack")


def without_plugin(where: str, errors: Iterable[HpcaiError]) -> Iterator[Finding]:
    """What it means when Slurm's commands cannot load a plugin, told once; nothing for other errors."""
    words = next((error.what for error in errors if _NO_PLUGIN.search(error.what)), None)
    if words is None:
        return
    why, then = "cannot be loaded", "install it"
    if "Incompatible" in words:
        why, then = "was built for another release of it", "build it anew"
    what = f"A plugin of this Slurm, often Pyxis, {why}: {words}"
    fix = f"Ask who runs this Slurm to {then} (plugstack.conf names it): no srun or sbatch works."
    yield Finding("plugin-of-other-slurm", "error", where, what, fix)


def slurm_as_a_whole(told: Told, *, is_there: bool) -> Iterator[Finding]:
    """What is to be said of Slurm once, however many jobs are checked."""
    if not is_there:
        what = "There is no Slurm here: its limits were not looked at."
        fix = "Go to the cluster's login node; `hpcai local up` starts a Slurm here."
        yield Finding("no-slurm", "warning", "slurm", what, fix)
        return
    plugin = list(without_plugin("slurm", told.errors.values()))
    if plugin:
        yield from plugin
        return
    if told.unanswered:
        names = ", ".join(NAMES[name] for name in told.unanswered)
        what = (
            f"Slurm is slow or away: it was asked in vain for {names}. What hangs on them was not looked at."
        )
        yield Finding(
            "slurm-slow", "warning", "slurm", what, "scontrol ping  # tells; --timeout-s 20 asks longer"
        )
    said: dict[str, tuple[Severity, str]] = {}
    for name, error in told.errors.items():
        if name not in told.unanswered and name != "associations":
            # Without partitions and nodes nothing can be submitted; the rest is only not known.
            severity: Severity = "error" if name in ("partitions", "nodes") else "warning"
            said.setdefault(
                error.what, (severity, error.next_step or "sinfo  # shows whether Slurm works here")
            )
    for what, (severity, fix) in said.items():
        yield Finding("slurm-refuses", severity, "slurm", what, fix)
