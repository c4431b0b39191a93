"""What would go wrong with a script of #SBATCH lines, as far as it can be known before the queue."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hpcai.check import paths
from hpcai.check.findings import Finding, Severity, has_errors
from hpcai.check.job import Checked, Surroundings
from hpcai.check.refused import fields_meant, refused_by_slurm, what_to_do
from hpcai.check.script_files import check_files
from hpcai.check.script_job import check_limits, finding_of, option_of
from hpcai.check.script_sruns import all_options
from hpcai.check.script_steps import check_steps
from hpcai.check.script_view import View
from hpcai.check.secrets import secrets_in_script
from hpcai.check.syntax import check_text
from hpcai.errors import HpcaiError, nearest
from hpcai.slurm.answers import ExpectedStart
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.dependency import dependency_breaches
from hpcai.slurm.sbatch_lines import PYXIS, Option, Script
from hpcai.specs.slurm_options import available, slurm_options


def check_script(text: str, file: Path, around: Surroundings, client: SlurmClient | None) -> Checked:
    """Findings about a script, each at its line and column; nothing is submitted."""
    view = View(text.replace("\r\n", "\n"), Path.cwd(), around.environ)
    found = [*_form(text), *_lines(view, around), *secrets_in_script(view.text)]
    if view.shell in ("bash", "sh", "dash"):
        found += check_text(view.text)
    parts = {"files": lambda: check_files(view, around), "script": lambda: check_steps(view, around)}
    found += paths.in_time(parts, around.looks_s)
    found += check_limits(view.script, around)
    if client is not None and around.told.partitions is not None:
        found += _dependency(view.script, around, client)
    named = [_placed(finding, str(file), view.script) for finding in dict.fromkeys(found)]
    if client is None or around.told.partitions is None or has_errors(named):
        return Checked(tuple(named))
    try:
        return Checked(tuple(named), _test_only(text, client))
    except HpcaiError as error:
        refused = [_placed(one, str(file), view.script) for one in _refused(error, view.script)]
        return Checked((*named, *refused))


def _test_only(text: str, client: SlurmClient) -> ExpectedStart:
    # A text from a pipe is read once, and is no file that sbatch could read.
    with tempfile.TemporaryDirectory(prefix="hpcai-check-") as folder:
        script = Path(folder) / "script.sbatch"
        script.write_text(text, encoding="utf-8")
        return client.test_only(script, as_is=True)


def _dependency(script: Script, around: Surroundings, client: SlurmClient) -> Iterator[Finding]:
    """Whether what the job waits for can still come true."""
    given = script.option("dependency")
    try:
        found = list(dependency_breaches(given.value if given else None, client, around.told.version))
    except HpcaiError as error:
        yield from refused_by_slurm(error)
        return
    for breach in found:
        yield finding_of(breach)


# What may be too much where Slurm says no more than that no node has it.
_OF_NODES = ("mem", "mem-per-cpu", "gres", "gpus", "gpus-per-node", "cpus-per-task", "ntasks-per-node")


def _refused(error: HpcaiError, script: Script) -> Iterator[Finding]:
    """What sbatch says, at the line that it means or may mean, else at the file's begin."""
    fields, _ = fields_meant(error.what)
    names = [option_of(field) for field in fields]
    if "node configuration" in error.what.lower():
        names = [*_OF_NODES, "ntasks", "nodes", "constraint"]
    given = next((option for name in names if (option := script.option(name)) is not None), None)
    for finding in refused_by_slurm(error):
        if finding.id != "refused":
            yield finding
        elif given is None:
            yield replace(finding, place="1:1")
        else:
            row = slurm_options().get(given.name)
            fix = what_to_do(error, row.field if row is not None and fields else None)
            yield replace(finding, where=f"--{given.name}", fix=fix, place=given.at)


def _placed(finding: Finding, file: str, script: Script) -> Finding:
    if finding.place is not None:
        return replace(finding, place=f"{file}:{finding.place}")
    option = script.option(finding.where.removeprefix("--"))
    if option is None:
        return replace(finding, place=f"{file}:1:1") if finding.where.startswith("--") else finding
    return replace(finding, place=f"{file}:{option.at}")


def _form(text: str) -> Iterator[Finding]:
    """What sbatch wants of the file itself, before it reads any line."""
    where = "sbatch"
    if not text.startswith("#!"):
        what = "sbatch refuses a script that does not begin with #! and an interpreter."
        yield Finding("script-form", "error", where, what, "Write #!/bin/bash as the first line.", "1:1")
    for sign, name, fix in (
        ("\r\n", "the line breaks of DOS", "sed -i 's/\\r$//' FILE  # takes them out"),
        ("\0", "a zero byte", "Take it out: no shell reads behind it."),
    ):
        if sign in text:
            at = f"{text[: text.index(sign)].count(chr(10)) + 1}:1"
            yield Finding("script-form", "error", where, f"sbatch refuses a script with {name}.", fix, at)


def _lines(view: View, around: Surroundings) -> Iterator[Finding]:
    for word in view.script.cuts:
        lost = view.text.splitlines()[word.line - 1][(word.cut_at or 1) - 1 :]
        what = f"sbatch stops reading at a raw #: {lost!r} is lost, and {word.text!r} is taken."
        whole = f"{word.text}{lost.split()[0]}"
        name, equals, value = whole.partition("=")
        fix = f'Quote the value: #SBATCH {name}="{value}".' if equals else f'Quote it: "{whole}".'
        yield Finding("hash-cuts-line", "error", "#SBATCH", what, fix, f"{word.line}:{word.cut_at}")
    for number in view.late:
        what = "sbatch does not read this line: a command comes before it."
        yield Finding(
            "line-too-late", "warning", "#SBATCH", what, "Put it above the first command.", f"{number}:1"
        )
    for option in view.script.options:
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
    if option.name in all_options():
        what, fix = f"sbatch has no option --{option.name}: it is srun's.", "Give it to srun in the script."
        return Finding("option-unknown", "error", f"--{option.name}", what, fix, option.at)
    near = nearest(option.name, [*slurm_options(), *PYXIS])
    hint = (
        f"Did you mean --{near}?" if near else "A plugin of this site may have it; sbatch --help shows all."
    )
    what = f"sbatch has no option {dashes}{option.name}."
    severity: Severity = "error" if near else "warning"
    return Finding("option-unknown", severity, dashes + option.name, what, hint, option.at)
