"""The environment that sbatch and srun get from us: nothing in it may change what the script says."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Inside a job, its own variables would become options and facts of the new job.
_OF_A_JOB = re.compile(r"(SLURM|SLURMD|PMI|PMIX|SRUN)_")
_ABOUT_SITE = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_CONF_SERVER")
# What users and sites set once for all their jobs, and the option that says it in a script. sbatch takes its
# variables before a script's lines; all others would change the job behind its file's back.
_DEFAULTS = {
    "SBATCH_ACCOUNT": "account",
    "SBATCH_CLUSTERS": "clusters",
    "SBATCH_CONSTRAINT": "constraint",
    "SBATCH_PARTITION": "partition",
    "SBATCH_QOS": "qos",
    "SBATCH_RESERVATION": "reservation",
    "SBATCH_WCKEY": "wckey",
}


def for_submission(environ: Mapping[str, str], script: str = "") -> dict[str, str]:
    """What sbatch gets for a script of ours: of its own variables only those that the script leaves open."""
    said = set(re.findall(r"^#SBATCH --([a-z-]+)", script, flags=re.MULTILINE))
    return {
        name: value
        for name, value in environ.items()
        if (not _OF_A_JOB.match(name) or name in _ABOUT_SITE)
        and (not name.startswith("SBATCH_") or _DEFAULTS.get(name, "") not in {"", *said})
    }
