"""What Slurm's commands say when they fail, as errors that tell what to do next."""

from __future__ import annotations

import re

from hpcai import shell
from hpcai.errors import NotFoundError, SlurmError, ToolError, UnreachableError

_NO_ANSWER = re.compile(
    r"Unable to contact slurm controller|Socket timed out|Connection refused|Zero Bytes were transmitted"
    r"|Communication connection failure|temporarily unable to accept|Transport endpoint is not connected"
    r"|slurm_persist_conn|Resource temporarily unavailable",
    re.IGNORECASE,
)
# With these the job cannot have been accepted: the request never arrived.
NOT_ARRIVED = re.compile(
    r"connect failure|Connection refused|temporarily unable to accept|Resource temporarily unavailable",
    re.IGNORECASE,
)
_NO_CONFIG = re.compile(
    r"Unable to process configuration|configuration source|cannot stat file", re.IGNORECASE
)
NO_CONFIG = "Set SLURM_CONF to the site's slurm.conf; `hpcai local up` starts a Slurm here."
_UNKNOWN_JOB = re.compile(r"Invalid job id|Job \S+ not found", re.IGNORECASE)
# What Slurm says when it refuses -> what to do about it.
_ADVICE = (
    ("Invalid partition", "`sinfo -s` lists the partitions; `partition:` in the file names one."),
    (
        "node configuration is not available",
        "`sinfo -o '%P %D %c %m %G'` shows what nodes have; ask for less.",
    ),
    ("Memory specification", "`sinfo -o '%P %m'` shows the memory of nodes in MiB; lower `mem_gib:`."),
    ("Node count specification", "`sinfo -s` shows how many nodes a partition has; lower `nodes:`."),
    ("More processors requested", "`sinfo -o '%P %D %c'` shows nodes and CPUs; ask for less."),
    ("time limit", "`sinfo -o '%P %l'` shows the longest time of each partition; set `time_min:`."),
    ("account", "`sacctmgr show assoc user=$USER format=account,partition,qos` lists yours; set `account:`."),
    ("qos", "`sacctmgr show assoc user=$USER format=account,qos` lists yours; set `qos:`."),
    ("feature", "`sinfo -o '%P %f'` lists the features of nodes; correct `constraint:`."),
    ("node name", "`sinfo -N` lists the nodes; correct `nodelist:` or `exclude:`."),
    ("reservation", "`scontrol show reservation` lists the reservations."),
    ("dependency", "`hpcai queue` lists your jobs; correct `dependency:`."),
    ("license", "`scontrol show licenses` lists the licenses."),
)


def failure(done: shell.Completed) -> ToolError | UnreachableError | NotFoundError:
    """The error of a command of Slurm's that ended with another status than 0."""
    words = _words_of(done)
    if _NO_CONFIG.search(done.stderr):
        # Every command says the same of it.
        is_broken = "parsing error" in words.lower()
        next_step = "Ask who runs this Slurm to correct that line of slurm.conf." if is_broken else NO_CONFIG
        return SlurmError(f"Slurm's commands find no cluster: {words}.", next_step=next_step)
    if _NO_ANSWER.search(done.stderr):
        return UnreachableError(
            f"slurmctld does not answer: {words}.",
            next_step="`scontrol ping` tells whether it runs; try again later.",
        )
    if _UNKNOWN_JOB.search(words):
        return NotFoundError(f"Slurm knows no such job: {words}.", next_step="`hpcai queue` lists your jobs.")
    advice = next((advice for sign, advice in _ADVICE if sign.lower() in words.lower()), None)
    return SlurmError(f"{done.program} refused: {words}.", next_step=advice)


def _words_of(done: shell.Completed) -> str:
    """Slurm's own words without what it puts before each line, the last line first: it says most."""
    text = (
        done.stderr.strip() or done.stdout.strip() or f"it ended with status {done.status} and said nothing"
    )
    lines = [re.sub(r"^\S+: (error|fatal): ", "", line.strip()) for line in text.splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(reversed(lines))).rstrip(".")
