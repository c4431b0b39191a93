"""Slurm's states and reasons in a person's words."""

from __future__ import annotations

import re

from hpcai.slurm.answers import JobInfo

# Reasons of waiting jobs, as squeue(1) names them; the first whose pattern fits the whole reason counts.
_WAITS = (
    ("Resources", "waits for nodes to become free"),
    ("Priority", "other jobs go first"),
    ("Dependency", "waits for another job"),
    ("DependencyNeverSatisfied", "never starts: the job that it depends on ended otherwise"),
    ("BeginTime", "waits for its begin time (after a requeue Slurm waits up to 2 minutes)"),
    ("JobHeldUser", "is held by you; `scontrol release` lets it go"),
    ("JobHeldAdmin", "is held by an administrator"),
    (
        "launch[_ ]failed[_ ]requeued[_ ]held",
        "is held: a node could not start it; `scontrol release` lets it go",
    ),
    ("job[_ ]requeued[_ ]in[_ ]held[_ ]state", "was requeued and is held; `scontrol release` lets it go"),
    ("JobHoldMaxRequeue", "is held: it was requeued too often"),
    ("Licenses", "waits for a license"),
    ("Reservation", "waits for its reservation"),
    ("PartitionNodeLimit", "never starts as it is: its partition does not have or allow so many nodes"),
    ("PartitionTimeLimit", "never starts as it is: its partition does not allow so long a time"),
    ("PartitionConfig", "never starts as it is: its partition does not fit what it asks for"),
    ("PartitionDown|PartitionInactive", "waits: its partition takes no jobs now"),
    ("BadConstraints", "never starts: no node fits what it asks for"),
    ("NodeDown", "waits: a node that it needs is down"),
    ("ReqNodeNotAvail.*", "waits: a node that it needs is down, drained or reserved"),
    (
        "Nodes[_ ]required[_ ]for[_ ]job[_ ]are[_ ]DOWN.*",
        "waits: nodes that it needs are down, drained or reserved",
    ),
    ("Cleaning", "waits for its former nodes to be cleaned"),
    ("Prolog", "its nodes run their prolog"),
    (
        "QOSMax\\w*PerJob\\w*|QOSMin\\w*|QOSTimeLimit",
        "never starts as it is: its QOS does not allow one job that",
    ),
    (
        "AssocMax\\w*PerJob\\w*|Association(Time|Resource)Limit",
        "never starts as it is: its account does not allow one job so much",
    ),
    ("AccountNotAllowed|QOSNotAllowed", "never starts as it is: its partition is not for its account or QOS"),
    ("InvalidAccount|InvalidQOS", "never starts as it is: its account or QOS is not valid"),
    ("ReservationDeleted|InvalidReservation", "never starts: its reservation is gone"),
    ("Dead[Ll]ine", "never starts: it could not end before its deadline"),
    ("QOS.*", "waits: a limit of its QOS is reached"),
    ("Assoc.*|Account.*", "waits: a limit of its account is reached"),
    ("JobArrayTaskLimit", "waits: as many tasks of its array run as it allows"),
    ("None", "has only just come into the queue"),
)
_STATES = {
    "PENDING": "waits",
    "CONFIGURING": "its nodes are being made ready",
    "RUNNING": "runs",
    "COMPLETING": "is ending",
    "SUSPENDED": "is suspended",
    "STOPPED": "is stopped",
    "REQUEUED": "was requeued",
    "REQUEUE_HOLD": "was requeued and is held",
    "SPECIAL_EXIT": "was requeued and is held",
    "RESIZING": "is being resized",
    "STAGE_OUT": "stages data out",
    "SIGNALING": "is being signalled",
    "COMPLETED": "completed",
    "FAILED": "failed",
    "CANCELLED": "was cancelled",
    "TIMEOUT": "reached its time limit",
    "DEADLINE": "reached its deadline",
    "NODE_FAIL": "lost a node",
    "BOOT_FAIL": "ended: a node did not start",
    "PREEMPTED": "was preempted",
    "OUT_OF_MEMORY": "ran out of memory",
    "REVOKED": "was revoked",
}


def in_words(job: JobInfo) -> str:
    """What goes on with a job, to be read after its name."""
    if job.state == "PENDING":
        return _why_it_waits(job.reason or "None")
    return _STATES.get(job.state, f"is in the state {job.state}")


def never_starts(job: JobInfo) -> bool:
    """Whether a waiting job cannot start unless somebody changes it or the cluster."""
    return job.state == "PENDING" and _why_it_waits(job.reason or "None").startswith("never starts")


def _why_it_waits(reason: str) -> str:
    for pattern, words in _WAITS:
        if re.fullmatch(pattern, reason):
            return words
    return f"waits: {reason}"
