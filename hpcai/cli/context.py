"""How a command finds Slurm and storage: what was set, else the Slurm on PATH, else an embedded one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpcai.cli.output import say
from hpcai.entry import looked_at
from hpcai.errors import NotFoundError, ToolError
from hpcai.specs.site import Site, cache_dir, load_site

if TYPE_CHECKING:
    from hpcai.slurm.client import SlurmClient

# Where a slurm.conf lies when SLURM_CONF does not say it; the last is that of a configless node.
_SYSTEM_CONFIGS = ("/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf", "/run/slurm/conf/slurm.conf")
# Of these, one that is set means that the user has chosen a storage account.
_STORAGE = (
    "AZURE_STORAGE_ACCOUNT",
    "HPCAI_STORAGE_ENDPOINT",
    "HPCAI_STORAGE_CREDENTIALS",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
)


@dataclass(frozen=True)
class Context:
    """What a command works with. Without Slurm, records can still be read."""

    site: Site
    slurm: SlurmClient | None
    why_no_slurm: ToolError | None = None

    @property
    def client(self) -> SlurmClient:
        """Slurm. Raises ToolError where there is none."""
        if self.slurm is not None:
            return self.slurm
        raise self.why_no_slurm or ToolError(
            "There is no Slurm here: sbatch is not on PATH, and no embedded cluster is up.",
            next_step="`hpcai local up` starts a Slurm on this machine.",
        )


def find_context() -> Context:
    """Slurm and site of this process, whose environment then names them for all that it starts.

    In this order: the embedded cluster that HPCAI_LOCAL names; the Slurm whose sbatch is on PATH; the
    embedded cluster `default` if it is up, which is said.
    """
    say_unheeded()
    name = os.environ.get("HPCAI_LOCAL")
    try:
        if name:
            _adopt(name)
        elif not _has_slurm(os.environ):
            _adopt_default()
    except ToolError as error:
        return Context(load_site(), None, error)
    if shutil.which("sbatch") is None:
        return Context(load_site(), None)
    from hpcai.slurm.client import SlurmClient

    return Context(load_site(), SlurmClient())


def say_unheeded(*, all_of_them: bool = False) -> None:
    """To stderr: variables that are likely misspelt, and with `all_of_them` every one that nobody reads."""
    names = [name for name in os.environ if name.startswith("HPCAI_")]
    if not names:
        return
    from hpcai.specs.variables import unheeded

    for name, near in unheeded(os.environ):
        if near or all_of_them:
            meant = f" Did you mean {near}?" if near else ""
            say(f"Nobody reads the variable {name}.{meant}")


def _has_slurm(environ: Mapping[str, str]) -> bool:
    if shutil.which("sbatch", path=environ.get("PATH")) is None:
        return False
    # The commands alone, without a cluster behind them, come with many distributions.
    return bool(environ.get("SLURM_CONF") or environ.get("SLURM_CONF_SERVER")) or any(
        looked_at(Path(path)).is_there for path in _SYSTEM_CONFIGS
    )


def _adopt_default() -> None:
    from hpcai.slurm.local.places import DEFAULT, place

    if not looked_at(place(cache_dir(), DEFAULT).ready).is_there:
        # There is none, or it is down: nobody asked for it.
        return
    try:
        _adopt(DEFAULT)
    except (NotFoundError, ToolError):
        return
    say(f"Using the embedded cluster {DEFAULT!r}.")


def _adopt(name: str) -> None:
    from hpcai.slurm.local.cluster import environment

    found = environment(name)
    if any(os.environ.get(variable) for variable in _STORAGE):
        found = {variable: value for variable, value in found.items() if variable not in _STORAGE}
    os.environ.update(found)
