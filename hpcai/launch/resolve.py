"""A job spec with every default explicit, and its script; nothing is written, and little is loaded."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpcai.errors import ToolError, UnreachableError
from hpcai.render.job import render_job
from hpcai.render.resolved import ResolvedJob, Where, resolve_job
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site, load_site

if TYPE_CHECKING:
    from hpcai.slurm.client import SlurmClient

LOG = logging.getLogger(__name__)


def resolve(
    spec: JobSpec, site: Site | None = None, *, where: Where = "slurm", client: SlurmClient | None = None
) -> ResolvedJob:
    """The spec with every default explicit, for this interpreter and the Slurm of `client`.

    Raises NotFoundError where `profile: auto` cannot be told.
    """
    site = site or load_site()
    if spec.profile is not None and spec.profile.lower().startswith("auto"):
        spec = _with_size(spec, site, where, client)
    has_pmix = True
    if spec.launcher == "horovod" and spec.horovod_controller is None:
        has_pmix = _has_pmix(client) if where == "slurm" else shutil.which("mpirun") is not None
    if spec.container is not None and site.pyxis_version is None and where == "slurm":
        site = replace(site, pyxis_version=_pyxis_release(client))
    return resolve_job(spec, site, interpreter=Path(sys.executable), has_pmix=has_pmix)


def _with_size(spec: JobSpec, site: Site, where: Where, client: SlurmClient | None) -> JobSpec:
    # Few jobs ask for it, and it reads the table of sizes.
    from hpcai.slurm.vm_size import is_auto, with_profile

    if where == "local" and is_auto(spec.profile):
        # This machine is no node of a partition.
        return spec.model_copy(update={"profile": None})
    if client is None or (spec.partition in site.partitions):
        return with_profile(spec, site.partitions, None, None)
    return with_profile(spec, site.partitions, client.partitions(), client.nodes())


def _has_pmix(client: SlurmClient | None) -> bool:
    """Whether srun starts ranks of MPI; taken for granted where it cannot be asked."""
    try:
        return client is None or "pmix" in client.mpi_plugins()
    except (ToolError, UnreachableError) as error:
        LOG.warning("srun was not asked for PMIx: %s", error.what)
        return True


def _pyxis_release(client: SlurmClient | None) -> str | None:
    try:
        return client.pyxis_release() if client is not None else None
    except (ToolError, UnreachableError) as error:
        LOG.warning("srun was not asked for Pyxis: %s", error.what)
        return None


def preview(
    spec: JobSpec,
    *,
    where: Where = "slurm",
    site: Site | None = None,
    client: SlurmClient | None = None,
    asks: Mapping[str, str] | None = None,
) -> str:
    """The script that `submit` would make, but for a job without a record; nothing is written.

    `asks`: what it takes from the environment of whoever submits it, and what each variable is.
    """
    return render_job(resolve(spec, site, where=where, client=client), None, where=where, asks=asks or {})
