"""The data sets that a job names, looked for before it takes nodes."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from hpcai.errors import HpcaiError, NotFoundError
from hpcai.render.resolved import ResolvedJob, Where
from hpcai.specs.job import DataSpec

LOG = logging.getLogger(__name__)


def refuse_missing_data(job: ResolvedJob, where: Where) -> None:
    """Raises NotFoundError for a data set that certainly is not where the job would pull it from.

    What only may be missing, because nobody answers or these credentials do not open it, is logged.
    """
    environ = {**os.environ, **job.places}
    for data in job.spec.data:
        try:
            _look(data, environ)
        except NotFoundError as error:
            # Nodes may see folders that this machine does not.
            if where == "slurm" and data.source.startswith("file:"):
                LOG.warning("Data set %r was not seen from here: %s", data.name, error.what)
            else:
                raise


def _look(data: DataSpec, environ: Mapping[str, str]) -> None:
    # Only jobs with data pay for what reads it.
    from hpcai.staging.source import open_source, read_manifest, require_version

    try:
        source = open_source(data.source, environ)
    except HpcaiError as error:
        # Credentials that are missing here may be there on the nodes.
        LOG.warning("Data set %r was not looked for: %s", data.name, error.what)
        return
    try:
        require_version(read_manifest(source, lambda _, read: read()), data.version, source)
    except NotFoundError:
        raise
    except HpcaiError as error:
        LOG.warning("Data set %r was not looked for: %s", data.name, error.what)
