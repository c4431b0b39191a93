"""Slurm's states and reasons in a person's words."""

from __future__ import annotations

import re

from hpcai.slurm.answers import JobInfo

# Why jobs wait: a case of `hpcai why`, the reasons that it is for, as squeue(1) names them, and what
# stands in a line of the queue. The first that fits the whole reason counts.
WAITS = (
    ("waits-resources", "Resources", "waits for nodes to become free"),
    ("waits-priority", "Priority", "other jobs go first"),
    ("waits-dependency", "Dependency", "waits for another job"),
    (
        "dependency-never",
        "DependencyNeverSatisfied",
        "never starts: the job that it depends on ended otherwise",
    ),
    (
        "begins-after-requeue",
        "BeginTime",
        "waits for its begin time (after a requeue Slurm waits up to 2 minutes)",
    ),
    ("begins-later", "BeginTime", "waits for its begin time"),
    ("held-by-user", "JobHeldUser", "is held by you; `scontrol release` lets it go"),
    ("held-by-admin", "JobHeldAdmin", "is held by an administrator"),
    (
        "held-launch-failed",
        "launch[_ ]failed[_ ]requeued[_ ]held",
        "is held: a node could not start it; `scontrol release` lets it go",
    ),
    (
        "held-requeued",
        "job[_ ]requeued[_ ]in[_ ]held[_ ]state|JobHoldMaxRequeue",
        "was requeued and is held; `scontrol release` lets it go",
    ),
    ("waits-licenses", "Licenses", "waits for a license"),
    ("waits-reservation", "Reservation", "waits for its reservation"),
    ("reservation-gone", "ReservationDeleted|InvalidReservation", "never starts: its reservation is gone"),
    (
        "maintenance",
        "(?:ReqNodeNotAvail.*)?Reserved[_ ]for[_ ]maintenance.*",
        "waits: its nodes are reserved for maintenance",
    ),
    ("waits-named-nodes", "ReqNodeNotAvail.*", "waits: a node that it needs is down, drained or reserved"),
    (
        "waits-nodes-away",
        "NodeDown|Nodes[_ ]required[_ ]for[_ ]job[_ ]are[_ ]DOWN.*",
        "waits: nodes that it needs are down, drained or reserved",
    ),
    (
        "partition-time",
        "PartitionTimeLimit",
        "never starts as it is: its partition does not allow so long a time",
    ),
    (
        "partition-nodes",
        "PartitionNodeLimit",
        "never starts as it is: its partition does not have or allow so many nodes",
    ),
    (
        "partition-config",
        "PartitionConfig|AccountNotAllowed|QOSNotAllowed",
        "never starts as it is: its partition does not have or allow what it asks for",
    ),
    ("partition-closed", "PartitionDown|PartitionInactive", "waits: its partition takes no jobs now"),
    (
        "no-such-nodes",
        "BadConstraints|FedJobLock|NodesNotFound",
        "never starts as it is: no nodes have what it asks for",
    ),
    (
        "account-invalid",
        "InvalidAccount|InvalidQOS|.*[_ ](?:account|qos)[_ ]invalid.*",
        "never starts as it is: its account or QOS is not valid",
    ),
    (
        "qos-limit-never",
        r"QOSMax(?:Cpu|CPU|GRES|Memory|Mem|Node|BB|Billing)\w*PerJob(?:Limit)?|QOSMin\w*|QOSMaxWallDurationPerJobLimit|QOSTimeLimit",
        "never starts as it is: its QOS does not allow one job that",
    ),
    ("qos-limit", "QOS.*|QosGrp.*", "waits: a limit of its QOS is reached"),
    (
        "account-limit-never",
        r"AssocMax(?:Cpu|CPU|GRES|Memory|Mem|Node|BB|Billing)\w*PerJob(?:Limit)?|AssocMaxWallDurationPerJobLimit|AssociationTimeLimit|AssociationResourceLimit",
        "never starts as it is: its account does not allow one job so much",
    ),
    ("account-limit", "Assoc.*|Account.*", "waits: a limit of its account is reached"),
    (
        "user-limit",
        "MaxCpuPerAccount|MaxGRESPerAccount|MaxJobsPerAccount|MaxMemoryPerAccount|MaxNodePerAccount|MaxSubmitJobsPerAccount|MaxBillingPerAccount",
        "waits: a limit of its account is reached",
    ),
    ("array-throttled", "JobArrayTaskLimit", "waits: as many tasks of its array run as it allows"),
    ("cleaning", "Cleaning", "waits for its former nodes to be cleaned"),
    ("prolog", "Prolog", "its nodes run their prolog"),
    ("deadline-missed", "DeadLine|Deadline", "never starts: it could not end before its deadline"),
    ("burst-buffer", "BurstBuffer.*", "waits for its data in the burst buffer"),
    ("just-queued", "None|SchedDefer", "has only just come into the queue"),
    ("waits-otherwise", ".*", "waits: {reason}"),
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


def reasons_of(case: str) -> re.Pattern[str]:
    """What fits the whole of each reason that a case of `hpcai why` is for."""
    return next(re.compile(pattern, re.DOTALL) for ident, pattern, _ in WAITS if ident == case)


def _why_it_waits(reason: str) -> str:
    words = next(words for _, pattern, words in WAITS if re.fullmatch(pattern, reason, re.DOTALL))
    return words.replace("{reason}", reason)
