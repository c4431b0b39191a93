"""Azure's reasons for a job that waits or lost a node, from the published cluster status."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hpcai.check.why.facts import Evidence, Facts
from hpcai.check.why.table import Cause, causes
from hpcai.cyclecloud.published import NodearrayStatus, NodeStatus, Published, Quota
from hpcai.units import moment, parse_hostlist, span

# Reasons under which a job waits that more VMs would let start.
_WANTS_NODES = ("Resources", "None", "NodeDown", "ReqNodeNotAvail", "Nodes", "launch")
# Under these, nodes that are not up are what it waits for.
_WANTS_THESE = ("NodeDown", "ReqNodeNotAvail", "Nodes", "launch")


@dataclass(frozen=True)
class Told:
    """What of Azure explains how the job stands."""

    cause: Cause
    values: dict[str, object]
    evidence: list[Evidence]


def problem(facts: Facts) -> Told | None:
    """What Azure's side says of this job's nodes or partition; None when nothing, or nothing fresh."""
    published = facts.published
    if published is None or published.is_stale(facts.now):
        return None
    for status in _of_job(facts, published):
        for row in causes().values():
            if status.code in row.codes and (not row.states or facts.state in row.states):
                return _told(row, status, facts, published)
    return None


def _of_job(facts: Facts, published: Published) -> Iterator[NodeStatus | NodearrayStatus]:
    """What is said of its own nodes, then of the nodearrays of its partition."""
    job = facts.job
    if job is None:
        return
    is_waiting, reason = facts.state == "PENDING", job.reason or "None"
    # After a requeue Slurm waits some time, whatever the reason was.
    is_again = reason == "BeginTime" and job.restarts > 0
    if is_waiting and not (reason.startswith(_WANTS_NODES) or is_again):
        return
    own = [name for name in _names(job.node_list) if name in published.nodes]
    # Since when a node is as it is must fit the job: a node that failed long after its end is no reason.
    for name in own:
        node = published.nodes[name]
        if not (job.is_final and job.end_time and node.since and node.since > job.end_time + 300):
            yield node
    if is_waiting or facts.state in ("CONFIGURING", "BOOT_FAIL"):
        arrays = published.of_partition(job.partition)
        yield from arrays
        if is_waiting and (is_again or reason.startswith(_WANTS_THESE)):
            names = {one.name for one in arrays}
            yield from (node for node in published.nodes.values() if node.nodearray in names)


def _names(node_list: str | None) -> list[str]:
    try:
        return parse_hostlist(node_list) if node_list else []
    except ValueError:
        return []


def _told(row: Cause, status: NodeStatus | NodearrayStatus, facts: Facts, published: Published) -> Told:
    is_node = isinstance(status, NodeStatus)
    array = status.nodearray if isinstance(status, NodeStatus) else status.name
    since = moment(status.since, facts.now)
    words = f"{status.state}, {status.code}" + (f" since {since}" if since else "")
    age = span(published.age_s(facts.now))
    where = f"{published.path} ({age} old), {'node' if is_node else 'nodearray'} {status.name}"
    evidence = [Evidence(where, words + (f": {status.message}" if status.message else ""))]
    quotas = published.quotas if status.code == "quota" else ()
    evidence += [Evidence(f"{published.path}, quota {quota.name}", _used(quota)) for quota in quotas]
    values: dict[str, object] = {
        "azure_node": status.name if is_node else None,
        "nodearray": array,
        "vm_size": next((one.vm_size for one in published.nodearrays if one.name == array), None),
        "azure_message": status.message and status.message.rstrip("."),
        "azure_since": since,
        "quota_region": "REGION",
    }
    full = [quota for quota in quotas if quota.used >= quota.limit] or [*quotas]
    if len(full) == 1 or (full and full[0].used >= full[0].limit):
        quota = full[0]
        values |= {"quota": quota.name, "quota_used": f"{quota.used:g}"}
        values |= {"quota_limit": f"{quota.limit:g} {quota.unit}", "quota_region": quota.region or "REGION"}
    return Told(row, values, evidence)


def _used(quota: Quota) -> str:
    region = f" in {quota.region}" if quota.region else ""
    return f"{quota.used:g} of {quota.limit:g} {quota.unit} used{region}"
