"""What Slurm's accounting keeps of jobs that slurmctld has forgotten, as sacct prints it. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from hpcai.slurm import parse
from hpcai.slurm.answers import JobInfo
from hpcai.specs.slurm_options import Version

# sacct's names of the fields that every version has.
FIELDS = (
    *("JobID", "JobIDRaw", "JobName", "User", "Partition", "State", "ExitCode", "Reason"),
    *("Submit", "Start", "End", "Timelimit", "NNodes", "NodeList", "WorkDir", "Comment"),
    *("Account", "QOS", "ReqTRES", "SubmitLine"),
)
# Where its output went is kept since Slurm 24.05.
OUTPUT_FIELDS = ("StdOut", "StdErr")
OUTPUT_SINCE = (24, 5)
# `12`, `12_3`, `12_[4-9]`, of a heterogeneous job `12+1`.
_IDENT = re.compile(r"(?P<job>\d+)(?:_(?P<task>\d+|\[[^\]]*\]))?(?:\+\d+)?")
_MARK = re.compile(r"hpcai:\S+:[0-9a-f]{16}\b|\bhpcai:[0-9a-f]{16}\b")


def argv(idents: Iterable[str], version: Version) -> list[str]:
    """The one question about these jobs: also of what another job of the same number did before."""
    # sacct does not take the form in which tasks that waited stand together.
    asked = ",".join(dict.fromkeys(ident.partition("_[")[0] for ident in idents))
    more = ["--expand-patterns"] if version >= OUTPUT_SINCE else []
    fields = ",".join(_fields(version))
    # `--parsable` ends each line with the delimiter, and so tells it from a newline in a value.
    how = ["--noheader", "--parsable", f"--delimiter={parse.SEPARATOR}", "--allocations", "--duplicates"]
    return ["sacct", *how, *more, f"--jobs={asked}", f"--format={fields}"]


def _fields(version: Version) -> tuple[str, ...]:
    return FIELDS + (OUTPUT_FIELDS if version >= OUTPUT_SINCE else ())


def jobs(text: str, version: Version) -> list[JobInfo]:
    """The jobs that `argv` lists, by their submission; a job that was requeued is one, with its restarts.

    Raises ValueError.
    """
    lines = (line.split(parse.SEPARATOR) for line in text.split(parse.SEPARATOR + "\n") if line.strip())
    rows = [_job_of_row(line, _fields(version)) for line in lines]
    rows.sort(key=lambda job: job.submit_time or 0.0)
    found: dict[tuple[str, ...], JobInfo] = {}
    for job in rows:
        # A number that is used again has another submission; each requeue has a row of its own.
        key = (job.ident, *submission_of(job))
        before = found.pop(key, None)
        found[key] = job if before is None else dataclasses.replace(job, restarts=before.restarts + 1)
    return list(found.values())


def submission_of(job: JobInfo) -> tuple[str, ...]:
    """What tells one submission from others under the same number: hpcai's own hold a mark."""
    return (job.told["SubmitLine"], job.name, job.workdir or "")


def _job_of_row(values: list[str], fields: Sequence[str]) -> JobInfo:
    if len(values) != len(fields):
        raise ValueError(f"sacct printed {len(values)} fields where {len(fields)} were asked: {values!r}")
    field = dict(zip(fields, values, strict=True))
    ident = _IDENT.fullmatch(field["JobID"])
    if ident is None:
        raise ValueError(f"{field['JobID']!r} is no job id")
    state = parse.state(field["State"])
    exit_status, signal = parse.exit_code(field["ExitCode"] or "0:0", state)
    task = ident["task"]
    told = {name: field.get(name, "") for name in ("Account", "QOS", "ReqTRES", "SubmitLine", "StdErr")}
    return JobInfo(
        job_id=int(field["JobIDRaw"].partition("+")[0]) if field["JobIDRaw"] else int(ident["job"]),
        array_job_id=int(ident["job"]) if task else None,
        array_task_id=task.strip("[]") if task else None,
        name=field["JobName"],
        state=state,
        reason=parse.nothing(field["Reason"]),
        user=field["User"],
        partition=field["Partition"],
        exit_status=exit_status,
        signal=signal,
        submit_time=parse.instant(field["Submit"]),
        start_time=parse.instant(field["Start"]),
        end_time=parse.instant(field["End"]),
        time_limit_s=parse.duration(field["Timelimit"]),
        nodes=parse.count(field["NNodes"]),
        node_list=None if field["NodeList"] == "None assigned" else parse.nothing(field["NodeList"]),
        workdir=parse.nothing(field["WorkDir"]),
        stdout=parse.nothing(field.get("StdOut", "")),
        stderr=parse.nothing(field.get("StdErr", "")),
        comment=parse.nothing(field["Comment"]) or _mark_in(field["SubmitLine"]),
        told=told,
        is_forgotten=True,
    )


def _mark_in(line: str) -> str | None:
    """The mark that hpcai gave a job: by default accounting keeps no comments, but what was typed."""
    found = _MARK.search(line)
    return found[0] if found else None


def canceller(text: str, ident: str) -> str | None:
    """The number of the user who cancelled a job, in what `sacct --format=JobID,State` prints."""
    found = re.search(rf"^{re.escape(ident)}\|CANCELLED by (\d+)", text, re.MULTILINE)
    return found[1] if found else None
