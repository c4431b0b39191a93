"""What a script of #SBATCH lines asks Slurm for, held against what Slurm has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hpcai.check import account, price, sizes
from hpcai.check.findings import Finding, Severity
from hpcai.check.job import Surroundings
from hpcai.slurm.arrays import array_breaches
from hpcai.slurm.limits import Breach, breaches
from hpcai.slurm.sbatch_lines import Script
from hpcai.specs.fields import mistakes_of
from hpcai.specs.job import JobSpec
from hpcai.specs.slurm_options import slurm_options
from hpcai.units import parse_duration_s

_SIZES = {"K": 2**-20, "M": 2**-10, "G": 1.0, "T": 1024.0}
_OF_TASKS = ("ntasks", "ntasks_per_node", "cpus_per_task")
# Keys that are no words of every day, as they stand in what to do.
_KEYS = (
    *("time_min", "gpus_per_node", "ntasks_per_node", "cpus_per_task", "mem_gib", "mem_per_cpu_gib"),
    *("ntasks", "nodelist", "dependency", "qos"),
)
# What a partition's limits are about; the rest sbatch judges itself.
_KEPT = ("nodes", "partition", "time_min", "gpus_per_node", "ntasks_per_node", "cpus_per_task")


def check_limits(script: Script, around: Surroundings) -> Iterator[Finding]:
    """Findings about each part of a heterogeneous job, else about the job."""
    for part in script.parts:
        spec = job_of(part)
        for finding in _limits(spec, part, around) if spec is not None else ():
            option = part.option(finding.where.removeprefix("--"))
            yield replace(finding, place=option.at) if option is not None else finding


def job_of(script: Script) -> JobSpec | None:
    """What the script asks for as a job's fields, as far as they are understood; None when not at all."""
    fields: dict[str, Any] = {}
    for option in script.options:
        row = slurm_options().get(option.name)
        if row is None or row.field is None or option.value is None:
            if option.name == "exclusive":
                fields["exclusive"] = True
            continue
        value = _value(row.field, option.value)
        if value is not None:
            fields[row.field] = value
    for name in _laid_out_by_slurm(script, fields):
        fields.pop(name, None)
    return _understood(fields)


def _laid_out_by_slurm(script: Script, fields: dict[str, Any]) -> tuple[str, ...]:
    """The fields that say nothing of how much one node must have."""
    nodes = script.value("nodes") or ""
    # In --gpus are those of all nodes.
    gpus = () if nodes == "1" else ("gpus",)
    if script.option("overcommit") is not None:
        return (*_OF_TASKS, *gpus)
    if "ntasks" not in fields:
        return gpus
    # With --ntasks, --ntasks-per-node is the most that a node gets.
    is_exact = re.fullmatch(r"\d+", nodes) is not None
    return ("ntasks_per_node", *gpus) if is_exact else ("ntasks", "ntasks_per_node", *gpus)


def _understood(fields: dict[str, Any]) -> JobSpec | None:
    """A job of these fields, without those that are in no form that a job's file knows."""
    given = fields | {"name": "script", "command": "true"}
    wrong = mistakes_of(JobSpec, given)
    fits = {key: value for key, value in given.items() if key not in wrong}
    if mistakes_of(JobSpec, fits):
        # What sbatch makes of what contradicts itself, it says itself.
        fits = {key: value for key, value in fits.items() if key in (*_KEPT, "name", "command")}
    return None if mistakes_of(JobSpec, fits) else JobSpec.model_validate(fits)


def _value(field: str, text: str) -> Any:
    """The value as the field has it; None where it is in another form than the common one."""
    if field in ("time_min", "time_min_min", "delay_boot_min"):
        try:
            return max(1, -(-parse_duration_s(text) // 60))
        except ValueError:
            return None
    if field.endswith("_gib"):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text.upper())
        return float(found[1]) * _SIZES[found[2] or "M"] if found else None
    if field == "nodes":
        # Of a range, the least.
        found = re.fullmatch(r"(\d+)(-\d+)?", text)
        return int(found[1]) if found else None
    if field == "gpus_per_node":
        found = re.fullmatch(r"(?:[A-Za-z][\w.-]*:)?(\d+)", text)
        return int(found[1]) if found else None
    if field == "name":
        return None
    return (
        int(text) if re.fullmatch(r"\d{1,6}", text) and field not in ("account", "partition", "qos") else text
    )


def _limits(spec: JobSpec, script: Script, around: Surroundings) -> Iterator[Finding]:
    told, site = around.told, around.site
    if told.partitions is not None:
        for breach in breaches(spec, told.partitions, told.nodes or ()):
            # Without --nodes Slurm takes as many as the tasks need, and lays them out.
            is_laid_out = breach.id == "node-too-small" and not breach.is_certain
            is_stated = breach.id != "partition-nodes" or script.option("nodes") is not None
            if is_stated and not is_laid_out:
                yield finding_of(breach)
        for finding in account.check_account(spec, told):
            yield replace(
                finding, where=f"--{option_of(finding.where)}", fix=finding.fix and as_options(finding.fix)
            )
    if told.config is not None:
        yield from map(finding_of, array_breaches(spec, told.config))
    if spec.time_min is None and script.option("time") is None:
        what = "There is no time limit: Slurm takes the partition's, and cannot start the job in a gap."
        yield Finding(
            "no-time-limit", "note", "--time", what, "Add #SBATCH --time with what it takes, and some more."
        )
    size = sizes.size_of(spec, told, site)
    if size.size is not None:
        yield from price.check_price(spec, size, told, around.prices, site.region)


def finding_of(breach: Breach) -> Finding:
    """What stands against a job of keys, in the words of options."""
    severity: Severity = "error" if breach.is_certain else "warning"
    where = f"--{option_of(breach.key)}"
    return Finding(breach.id, severity, where, breach.what, as_options(breach.fix))


def option_of(field: str) -> str:
    """The option of sbatch that a job's key becomes."""
    from hpcai.render.options import option_names

    return option_names().get(field, field.replace("_", "-"))


def as_options(fix: str) -> str:
    """The keys of a job in a text as options."""
    return re.sub(rf"\b({'|'.join(_KEYS)})\b", lambda found: f"--{option_of(found[0])}", fix)
