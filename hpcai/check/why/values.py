"""What the sentences of causes say of one job: values by name, None for what is not known."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from hpcai.check.why.facts import Facts
from hpcai.runs import signals
from hpcai.slurm.answers import JobInfo, NodeGroup
from hpcai.slurm.reasons import in_words
from hpcai.units import moment, span

_MOST_JOBS = 3
_CLOUD = {"~": "powered down", "#": "starting", "%": "powering down", "!": "about to be powered down"}
_BUSY = ("allocated", "mixed", "completing", "reserved", "planned")


def values_of(facts: Facts) -> dict[str, object]:
    """All values but those of a line of a log."""
    job = facts.job
    values: dict[str, object] = {
        "ident": facts.ident,
        "job": job.ident if job else None,
        "state": facts.state,
        "again": facts.again,
        "exit_status": facts.exit_status or None,
        "signal": facts.signal,
        "signal_name": _signal_name(facts),
        "asked_to_cancel": moment(facts.asked_to_cancel, facts.now),
        "canceller": facts.canceller,
        "bound": str(facts.bound) if facts.bound else None,
        "srun": srun_of(facts),
        "logs": f"hpcai logs {facts.ident}",
        "batch_logs": f"hpcai logs {facts.ident}" + (" --batch" if facts.keeps_logs else ""),
        "no_lines": True if not any(line.strip() for log in facts.logs for line in log.end.lines) else None,
        "silent_nodes": ", ".join(node.name for node in facts.nodes if node.is_down) or None,
    }
    if job is not None:
        values |= _of_job(job, facts)
    elif facts.attempts:
        values |= {"node_list": facts.attempts[-1].node_list}
    values |= _of_groups(facts.groups)
    values |= _of_partition(facts)
    values |= {"dependency": _dependencies(facts.dependencies)}
    start = instant(facts.reservation.get("StartTime"))
    values |= {"reservation_start": moment(start, facts.now)}
    return values


def srun_of(facts: Facts, node: str | None = None) -> str:
    """What lets a command run on one node of the kind that the job was on, or on this very node."""
    job = facts.job
    if facts.is_local:
        return ""
    words = ["srun", "--nodes=1", "--ntasks=1"]
    if job is not None:
        account = given(job.told, "Account")
        words += [f"--partition={job.partition}"] if job.partition else []
        words += [f"--account={account}"] if account else []
    words += [f"--nodelist={node}"] if node else []
    return shlex.join(words)


def _signal_name(facts: Facts) -> str | None:
    if facts.signal:
        return signals.of_status(128 + facts.signal)
    return signals.of_status(facts.exit_status)


def _of_job(job: JobInfo, facts: Facts) -> dict[str, object]:
    now, told = facts.now, job.told
    ran_s = job.elapsed_s(now)
    # For a job that waits, Slurm's start is when it means to begin.
    expected = job.start_time if job.state == "PENDING" and job.start_time else None
    return {
        "partition": job.partition or None,
        "partition_word": shlex.quote(job.partition) if job.partition else None,
        "node_count": None if job.nodes is None else f"{job.nodes} node{'s' if job.nodes > 1 else ''}",
        "node_list": job.node_list,
        "reason": job.reason,
        "user": job.user or None,
        "account": given(told, "Account"),
        "qos": given(told, "QOS"),
        "licenses": given(told, "Licenses"),
        "reservation": given(told, "Reservation"),
        "features": given(told, "Features"),
        "unavailable": unavailable(job.reason),
        "stdout": job.stdout,
        "expected": moment(expected, now) if expected and expected > now else None,
        "eligible": moment(eligible, now)
        if (eligible := instant(told.get("EligibleTime"))) and eligible > now
        else None,
        "limit": span(job.time_limit_s) if job.time_limit_s else None,
        "ran": span(ran_s) if ran_s else None,
        "restarts": job.restarts or None,
        "dependency_field": job.dependency,
        "throttle": _throttle(told),
    }


def given(told: Mapping[str, str], key: str) -> str | None:
    """What Slurm says under a name; None where it says nothing."""
    value = told.get(key)
    return None if value in (None, "", "(null)", "N/A", "None") else value


def unavailable(reason: str | None) -> str | None:
    """The nodes that a reason names as not available, as a host list."""
    found = re.search(r"UnavailableNodes:(\S+)", reason or "")
    return found[1] if found else None


def _throttle(told: Mapping[str, str]) -> str | None:
    found = re.search(r"\d+", told.get("ArrayTaskThrottle", ""))
    return found[0] if found else None


def instant(text: str | None) -> float | None:
    """UTC seconds of an instant as scontrol prints it to hpcai, in UTC."""
    try:
        return datetime.fromisoformat(text or "").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None


def _of_groups(groups: Sequence[NodeGroup]) -> dict[str, object]:
    if not groups:
        return {}
    away = sum(group.count for group in groups if group.is_away)
    busy = sum(group.count for group in groups if not group.is_away and group.state.startswith(_BUSY))
    return {
        "total": sum(group.count for group in groups),
        "busy": busy,
        "away": away or None,
        "starting": sum(group.count for group in groups if "#" in group.state) or None,
    }


def in_sign(state: str) -> str:
    """A state of sinfo's with its sign in words: `idle~` is `idle, powered down`."""
    sign = next((words for sign, words in _CLOUD.items() if sign in state), None)
    bare = state.rstrip("~#%!*$@^-")
    silent = ", not responding" if "*" in state else ""
    return bare + (f", {sign}" if sign else "") + silent


def _of_partition(facts: Facts) -> dict[str, object]:
    one = facts.partition
    if one is None:
        return {}
    return {
        "partition_nodes": one.total_nodes,
        "max_nodes": one.max_nodes,
        "max_time": span(one.max_time_s) if one.max_time_s else None,
        "partition_state": one.state,
    }


def _dependencies(jobs: Sequence[JobInfo]) -> str | None:
    told = [f"job {job.ident} ({job.name}), which {in_words(job)}" for job in jobs[:_MOST_JOBS]]
    return "; ".join(told) or None
