"""What would go wrong with a script of #SBATCH lines, as far as it can be known before the queue."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpcai.check import account, price, sizes
from hpcai.check.findings import Finding, Severity, has_errors
from hpcai.check.job import Checked, Surroundings, refused_by_slurm
from hpcai.check.script_steps import check_steps
from hpcai.errors import HpcaiError, nearest
from hpcai.slurm.answers import ExpectedStart
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.limits import breaches
from hpcai.slurm.sbatch_lines import PYXIS, Option, Script, read_script
from hpcai.specs.job import JobSpec
from hpcai.specs.slurm_options import available, slurm_options
from hpcai.units import parse_duration_s

_SIZES = {"K": 2**-20, "M": 2**-10, "G": 1.0, "T": 1024.0}


def check_script(text: str, file: Path, around: Surroundings, client: SlurmClient | None) -> Checked:
    """Findings about a script, each at its line and column; nothing is submitted."""
    script = read_script(text)
    found = list(_lines(script, text, around))
    found += check_steps(script, around)
    spec = job_of(script)
    if spec is not None:
        found += _limits(spec, script, around)
    named = [_placed(finding, str(file), script) for finding in found]
    if client is None or around.told.partitions is None or has_errors(named):
        return Checked(tuple(named))
    try:
        return Checked(tuple(named), _test_only(text, client))
    except HpcaiError as error:
        return Checked((*named, *refused_by_slurm(error)))


def _test_only(text: str, client: SlurmClient) -> ExpectedStart:
    # A text from a pipe is read once, and is no file that sbatch could read.
    with tempfile.TemporaryDirectory(prefix="hpcai-check-") as folder:
        script = Path(folder) / "script.sbatch"
        script.write_text(text, encoding="utf-8")
        return client.test_only(script)


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
    fields |= {"name": "script", "command": "true"}
    try:
        return JobSpec.model_validate(fields)
    except ValueError:
        # What sbatch makes of what contradicts itself, it says itself.
        kept = ("nodes", "partition", "time_min", "gpus_per_node", "ntasks_per_node", "cpus_per_task")
        try:
            return JobSpec.model_validate(
                {k: v for k, v in fields.items() if k in (*kept, "name", "command")}
            )
        except ValueError:
            return None


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
        found = re.match(r"\d+", text)
        return int(found[0]) if found else None
    if field == "name":
        return None
    return (
        int(text) if re.fullmatch(r"\d{1,6}", text) and field not in ("account", "partition", "qos") else text
    )


def _placed(finding: Finding, file: str, script: Script) -> Finding:
    from dataclasses import replace

    if finding.place is not None:
        return replace(finding, place=f"{file}:{finding.place}")
    option = script.option(finding.where.removeprefix("--"))
    if option is None:
        return replace(finding, place=f"{file}:1:1") if finding.where.startswith("--") else finding
    return replace(finding, place=f"{file}:{option.word.line}:{option.word.column}")


def _lines(script: Script, text: str, around: Surroundings) -> Iterator[Finding]:
    for word in script.cuts:
        lost = text.splitlines()[word.line - 1][(word.cut_at or 1) - 1 :]
        what = f"sbatch stops reading at a raw #: {lost!r} is lost, and {word.text!r} is taken."
        fix = 'Quote the value: #SBATCH --container-image="REGISTRY#IMAGE:TAG".'
        yield Finding("hash-cuts-line", "error", "#SBATCH", what, fix, f"{word.line}:{word.cut_at}")
    for number in script.late:
        what = "sbatch does not read this line: a command comes before it."
        yield Finding(
            "line-too-late", "warning", "#SBATCH", what, "Put it above the first command.", f"{number}:1"
        )
    for option in script.options:
        if not option.is_known:
            yield _unknown(option)
        elif _is_of_another_slurm(option, around):
            year, month = around.told.version or (0, 0)
            what = f"Slurm {year}.{month:02d} has no --{option.name}."
            yield Finding("option-not-here", "error", f"--{option.name}", what, "Leave it out.", option.at)


def _is_of_another_slurm(option: Option, around: Surroundings) -> bool:
    version = around.told.version
    return version is not None and option.name in slurm_options() and not available(option.name, version)


def _unknown(option: Option) -> Finding:
    dashes = "-" if len(option.name) == 1 else "--"
    near = nearest(option.name, [*slurm_options(), *PYXIS])
    hint = (
        f"Did you mean --{near}?" if near else "A plugin of this site may have it; sbatch --help shows all."
    )
    what = f"sbatch has no option {dashes}{option.name}."
    severity: Severity = "error" if near else "warning"
    return Finding("option-unknown", severity, dashes + option.name, what, hint, option.at)


def _limits(spec: JobSpec, script: Script, around: Surroundings) -> Iterator[Finding]:
    told, site = around.told, around.site
    if told.partitions is not None:
        for breach in breaches(spec, told.partitions, told.nodes or ()):
            where = f"--{_option_of(breach.key)}"
            severity: Severity = "error" if breach.is_certain else "warning"
            yield Finding(breach.id, severity, where, breach.what, _as_option(breach.fix))
        for finding in account.check_account(spec, told):
            yield Finding(
                finding.id, finding.severity, f"--{_option_of(finding.where)}", finding.what, finding.fix
            )
    if spec.time_min is None and script.option("time") is None:
        what = "There is no time limit: Slurm takes the partition's, and cannot start the job in a gap."
        yield Finding(
            "no-time-limit", "note", "--time", what, "Add #SBATCH --time with what it takes, and some more."
        )
    size = sizes.size_of(spec, told, site)
    if size.size is not None:
        yield from price.check_price(spec, size.size, told, around.prices, site.region)


def _option_of(field: str) -> str:
    from hpcai.render.options import option_names

    return option_names().get(field, field.replace("_", "-"))


def _as_option(fix: str) -> str:
    return re.sub(r"\b(time_min|gpus_per_node|ntasks_per_node|cpus_per_task|mem_gib)\b", _named, fix)


def _named(found: re.Match[str]) -> str:
    return f"--{_option_of(found[0])}"
