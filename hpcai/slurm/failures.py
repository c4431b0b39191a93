"""What Slurm's commands say when they fail, as errors that tell what to do next."""

from __future__ import annotations

import re

from hpcai import shell
from hpcai.errors import NotFoundError, SlurmError, ToolError, UnreachableError

_NO_ANSWER = re.compile(
    r"Unable to contact slurm controller|Socket timed out|Connection refused|Zero Bytes were transmitted"
    r"|Communication connection failure|temporarily unable to accept|Transport endpoint is not connected"
    r"|slurm_persist_conn|Resource temporarily unavailable|standby mode|Connection (timed out|reset by peer)"
    r"|Message (send|receive) failure|Unexpected message received|Broken pipe|No route to host"
    r"|Network is unreachable",
    re.IGNORECASE,
)
# With these the job cannot have been accepted: the request never arrived.
_NOT_ARRIVED = re.compile(
    r"connect failure|Connection refused|temporarily unable to accept|Resource temporarily unavailable"
    r"|standby mode|No route to host|Network is unreachable",
    re.IGNORECASE,
)
_NO_CONFIG = re.compile(
    r"Unable to process configuration|configuration source|cannot stat file", re.IGNORECASE
)
NO_CONFIG = "Set SLURM_CONF to the site's slurm.conf; `hpcai local up` starts a Slurm here."
# What sacct and sacctmgr say when slurmdbd, not slurmctld, does not answer.
_NO_DATABASE = re.compile(r"talking to the database|persist(ent)?[_ ](conn|init)|PersistInit", re.IGNORECASE)
ASK_WHETHER_IT_ANSWERS = "`sacctmgr show cluster` tells whether it does again."
_NO_ACCOUNTING = re.compile(
    r"accounting storage is disabled|not running a supported accounting_storage", re.I
)
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
    (
        "accounting frequency",
        "`scontrol show config | grep JobAcctGather` shows what this site keeps; leave `acctg_freq:` out.",
    ),
    ("account", "`sacctmgr show assoc user=$USER format=account,partition,qos` lists yours; set `account:`."),
    ("qos", "`sacctmgr show assoc user=$USER format=account,qos` lists yours; set `qos:`."),
    ("feature", "`sinfo -o '%P %f'` lists the features of nodes; correct `constraint:`."),
    ("node name", "`sinfo -N` lists the nodes; correct `nodelist:` or `exclude:`."),
    ("reservation", "`scontrol show reservation` lists the reservations."),
    ("dependency", "`hpcai queue` lists your jobs; correct `dependency:`."),
    ("license", "`scontrol show licenses` lists the licenses."),
)


class NoAccounting(SlurmError):
    """This Slurm keeps nothing of jobs that slurmctld has forgotten."""


class AccountingUnreachable(UnreachableError):
    """slurmdbd did not answer; slurmctld may."""


def failure(done: shell.Completed) -> ToolError | UnreachableError | NotFoundError:
    """The error of a command of Slurm's that ended with another status than 0."""
    words = _words_of(done)
    if done.status < 0:
        return UnreachableError(
            f"{done.program} was killed by signal {-done.status} before it had an answer.",
            next_step="Try again; `ulimit -a` shows what this user may have.",
        )
    if _NO_CONFIG.search(done.stderr):
        # Every command says the same of it.
        is_broken = "parsing error" in words.lower()
        next_step = "Ask who runs this Slurm to correct that line of slurm.conf." if is_broken else NO_CONFIG
        return SlurmError(f"Slurm's commands find no cluster: {words}.", next_step=next_step)
    if "Task launch for" in done.stderr:
        # slurmctld gave the node, and the node's own slurmd is silent.
        return UnreachableError(
            f"The node does not answer: {words}.",
            next_step="`sinfo -R` tells which are away; try again later.",
        )
    if done.program in ("sacct", "sacctmgr"):
        if _NO_ACCOUNTING.search(done.stderr):
            return NoAccounting(f"This Slurm keeps no accounting: {words}.")
        if _NO_DATABASE.search(done.stderr):
            return AccountingUnreachable(
                f"slurmdbd does not answer: {words}.",
                next_step=ASK_WHETHER_IT_ANSWERS,
            )
    if _NO_ANSWER.search(done.stderr):
        return UnreachableError(
            f"slurmctld does not answer: {words}.",
            next_step="`scontrol ping` tells whether it runs; try again later.",
        )
    if _UNKNOWN_JOB.search(words):
        return NotFoundError(f"Slurm knows no such job: {words}.", next_step="`hpcai queue` lists your jobs.")
    advice = next((advice for sign, advice in _ADVICE if sign.lower() in words.lower()), None)
    return SlurmError(f"{done.program} refused: {words}.", next_step=advice)


def never_arrived(stderr: str) -> bool:
    """Whether all that a command of Slurm's said tells that its request did not reach slurmctld.

    sbatch asks again by itself: a line of an earlier try says nothing about the last.
    """
    lines = [line for line in stderr.splitlines() if _NO_ANSWER.search(line)]
    return bool(lines) and all(_NOT_ARRIVED.search(line) for line in lines)


def _words_of(done: shell.Completed) -> str:
    """Slurm's own words without what it puts before each line; `... failed: why` first: it says most."""
    text = (
        done.stderr.strip() or done.stdout.strip() or f"it ended with status {done.status} and said nothing"
    )
    lines = [re.sub(r"^\S+: (error|fatal): ", "", line.strip()) for line in text.splitlines() if line.strip()]
    lines = [re.sub(r"\s{2,}", " ", line) for line in lines]
    if " failed: " in lines[-1]:
        lines.reverse()
    return "; ".join(dict.fromkeys(lines)).rstrip(".")
