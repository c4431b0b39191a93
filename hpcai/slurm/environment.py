"""The environment that sbatch and srun get from us: nothing in it may change what the script says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

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


def outside_a_job(environ: Mapping[str, str]) -> dict[str, str]:
    """What sbatch gets for a script of the user's own: all but the variables of the job that we may be in."""
    return {
        name: value for name, value in environ.items() if not _OF_A_JOB.match(name) or name in _ABOUT_SITE
    }


def script_text(script: Path | bytes) -> str:
    """The text of a script; nothing for one that cannot be read: sbatch tells what is wrong with it."""
    try:
        content = script if isinstance(script, bytes) else script.read_bytes()
    except OSError:
        return ""
    return content.decode("utf-8", "surrogateescape")


def for_submission(environ: Mapping[str, str], script: str = "") -> dict[str, str]:
    """What sbatch gets for a script of ours: of its own variables only those that the script leaves open."""
    said = set(re.findall(r"^#SBATCH --([a-z-]+)", script, flags=re.MULTILINE))
    return {
        name: value
        for name, value in outside_a_job(environ).items()
        if not name.startswith("SBATCH_") or _DEFAULTS.get(name, "") not in {"", *said}
    }
