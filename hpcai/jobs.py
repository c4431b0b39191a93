"""Jobs from Python, by the rules of `hpcai submit`: what surely cannot run is refused before the queue."""

from __future__ import annotations

from hpcai.check import sure
from hpcai.launch import script
from hpcai.render.resolved import Where
from hpcai.runs.record import Run
from hpcai.slurm.client import SlurmClient
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site, load_site


def submit(
    spec: JobSpec, *, where: Where = "slurm", site: Site | None = None, client: SlurmClient | None = None
) -> Run:
    """The record of a job that now waits in the queue, or, with where="local", that has ended.

    Raises SpecError for what surely keeps it from running (a script or an image that is not there, a text
    that bash cannot read), and SlurmError, UnreachableError, NotFoundError, RenderError, StageError.
    """
    site = site or load_site()
    client = client or (SlurmClient() if where == "slurm" else None)
    sure.refuse(sure.errors_of(spec, site, client, where))
    return script.submit(spec, where=where, site=site, client=client)
