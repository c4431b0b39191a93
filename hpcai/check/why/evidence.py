"""What is known and where it stands, as pieces to look up."""

from __future__ import annotations

from collections.abc import Iterator

from hpcai.check.why.choose import Choice
from hpcai.check.why.facts import Evidence, Facts, Log
from hpcai.check.why.table import Cause
from hpcai.check.why.values import given, in_sign
from hpcai.runs.tails import printable
from hpcai.slurm.answers import JobInfo
from hpcai.units import moment, span

# Fields of `scontrol show job` that a cause may need, beside state and reason.
_FIELDS = {
    "dependencies": ("Dependency",),
    "partition": ("TimeLimit", "NumNodes", "Partition"),
    "nodes": ("ReqNodeList",),
    "groups": ("NumNodes", "Features"),
    "reservation": ("Reservation",),
    "limits": ("Account", "QOS", "TRES", "ReqTRES"),
    "licenses": ("Licenses",),
    "begin": ("EligibleTime",),
}
_LONGEST = 400
_LAST_LINES = 3
_MOST_GROUPS = 6


def of_choice(choice: Choice) -> Iterator[Evidence]:
    """The line that tells most, the user's own code in it, and who failed first."""
    sign, first = choice.sign, choice.first
    if sign is None:
        return
    yield Evidence(sign.log.end.place(sign.index), _short(sign.log.end.lines[sign.index]))
    if sign.code:
        yield Evidence(sign.code, "the last line of your own code before it")
    if first is not None and first.sign is not sign:
        at = first.sign
        yield Evidence(at.log.end.place(at.index), _short(at.log.end.lines[at.index]))
    if choice.others:
        ranks = "1 other rank tells" if choice.others == 1 else f"{choice.others} other ranks tell"
        yield Evidence("other logs", f"{ranks} of trouble, which came later or follows from this")


def of_last_lines(facts: Facts, cause: Cause) -> Iterator[Evidence]:
    """The last lines of whoever fell silent first, where no cause tells more."""
    if cause.of != "fallback" or facts.stands not in ("failed", "other"):
        return
    logs = [log for log in facts.logs if any(line.strip() for line in log.end.lines)]
    ordered = sorted(logs, key=lambda log: (not log.is_errors, log.rank is None, log.end.written))
    for log in ordered[:1]:
        yield from _last_lines(log)


def _last_lines(log: Log) -> Iterator[Evidence]:
    lines = [(index, line) for index, line in enumerate(log.end.lines) if line.strip()]
    for index, line in lines[-_LAST_LINES:]:
        yield Evidence(log.end.place(index), _short(line))


def _short(line: str) -> str:
    text = printable(line).strip()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def evidence_of(facts: Facts, cause: Cause) -> Iterator[Evidence]:
    """What Slurm, the record and the cluster status say."""
    yield from _of_job(facts, cause)
    yield from _of_dependencies(facts)
    yield from _of_nodes(facts)
    if facts.reservation:
        told = facts.reservation
        what = ", ".join(
            f"{key}={told[key]}" for key in ("State", "StartTime", "EndTime", "Nodes") if key in told
        )
        yield Evidence(f"Slurm's reservation {told.get('ReservationName', '')}", f"{what} (UTC)")
    if facts.bound is not None:
        yield Evidence(f"sacctmgr, {facts.bound.whose}", str(facts.bound))
    if facts.canceller:
        yield Evidence("Slurm's accounting", f"CANCELLED by user {facts.canceller}")
    yield from _of_record(facts)
    for path in facts.silent_logs:
        yield Evidence(path, "is not there, or cannot be read here")
    if facts.unpublished:
        yield Evidence("cluster status", facts.unpublished)
    elif facts.published is not None and facts.published.is_stale(facts.now):
        age = span(facts.published.age_s(facts.now))
        yield Evidence(str(facts.published.path), f"is {age} old: what it says of Azure is not used")
    yield from (Evidence("not found out", what) for what in facts.unasked)


def _of_job(facts: Facts, cause: Cause) -> Iterator[Evidence]:
    job = facts.job
    if job is None:
        if facts.state == "UNKNOWN" or not facts.has_record:
            return
        yield Evidence("the run's record", f"state {facts.state}")
        return
    if job.is_forgotten:
        yield from _of_accounting(job)
        return
    yield Evidence("Slurm's JobState", job.state)
    if job.reason is not None:
        yield Evidence("Slurm's Reason", job.reason)
    if job.is_final and (job.exit_status or job.signal):
        yield Evidence("Slurm's ExitCode", f"{job.exit_status or 0}:{job.signal or 0} (status:signal)")
    for key in (key for need in cause.needs for key in _FIELDS.get(need, ())):
        value = given(job.told, key)
        if value is not None:
            yield Evidence(f"Slurm's {key}", value + (" (UTC)" if key.endswith("Time") else ""))


def _of_accounting(job: JobInfo) -> Iterator[Evidence]:
    """What stands there by sacct's names: slurmctld has forgotten the job."""
    yield Evidence("sacct, State", job.state)
    if job.reason is not None:
        yield Evidence("sacct, Reason", job.reason)
    if job.exit_status or job.signal:
        yield Evidence("sacct, ExitCode", f"{job.exit_status or 0}:{job.signal or 0} (status:signal)")


def _of_dependencies(facts: Facts) -> Iterator[Evidence]:
    for job in facts.dependencies:
        reason = f", reason {job.reason}" if job.reason else ""
        yield Evidence(f"Slurm's job {job.ident}", f"{job.name}: {job.state}{reason}")


def _of_nodes(facts: Facts) -> Iterator[Evidence]:
    groups = sorted(facts.groups, key=lambda group: (not group.is_away, -group.count))
    for group in groups[:_MOST_GROUPS]:
        why = f": {group.reason}" if group.reason else ""
        nodes = "1 node is" if group.count == 1 else f"{group.count} nodes are"
        yield Evidence(f"sinfo, {group.node_list}", f"{nodes} {in_sign(group.state)}{why}")
    for node in facts.nodes:
        flags = "+".join([node.state, *sorted(node.flags)])
        if node.reason or node.is_down or node.flags:
            yield Evidence(f"node {node.name}", flags + (f": {node.reason}" if node.reason else ""))


def _of_record(facts: Facts) -> Iterator[Evidence]:
    if facts.asked_to_cancel is not None:
        yield Evidence("the run's events.jsonl", f"cancelled {moment(facts.asked_to_cancel, facts.now)}")
    for attempt in facts.attempts[:-1]:
        when = f", {moment(attempt.end, facts.now)}" if attempt.end is not None else ""
        where = f" on {attempt.node_list}" if attempt.node_list else ""
        yield Evidence(f"the run's attempt {attempt.number}", f"{attempt.cause}{where}{when}")
