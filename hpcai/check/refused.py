"""Which key of a job Slurm means when it refuses the job in words of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hpcai.check.findings import Finding
from hpcai.check.slurm_itself import without_plugin
from hpcai.errors import HpcaiError, UnreachableError
from hpcai.render.options import option_names
from hpcai.specs.job import JobSpec
from hpcai.specs.slurm_fields import ComponentFields
from hpcai.specs.slurm_options import slurm_options

_TIME = "Write a time such as 16:00, now+1hour or 2027-01-31T08:00."
# What each of them takes, where that can be said in a line.
_TAKES = {
    "begin": _TIME,
    "deadline": _TIME,
    "mail_type": "Write such as END,FAIL; others are NONE, BEGIN, REQUEUE, TIME_LIMIT, ARRAY_TASKS and ALL.",
    "signal": "Write such as USR1@60 or B:TERM@120; `kill -l` lists the names.",
    "distribution": "Write block, cyclic, plane=N or arbitrary, and behind a colon how inside a node.",
    "dependency": "Write such as afterok:17; `hpcai queue` lists your jobs.",
    "gres": "Write such as gpu:2; `sinfo -o '%P %G'` lists what nodes have.",
    "licenses": "`scontrol show licenses` lists the licenses.",
    "constraint": "`sinfo -o '%P %f'` lists the features of nodes.",
    "prefer": "`sinfo -o '%P %f'` lists the features of nodes.",
    "nodelist": "`sinfo -N` lists the nodes.",
    "exclude": "`sinfo -N` lists the nodes.",
    "propagate": "Write ALL, NONE, or names of limits such as STACK,MEMLOCK.",
}
# Words of slurmctld that name no option -> the fields that it may mean.
_MEANS = (
    ("generic resource", ("gres", "gpus_per_node", "gpus", "gpus_per_task", "gpus_per_socket")),
    ("preferred feature", ("prefer",)),
    ("feature specification", ("constraint",)),
    ("node name", ("nodelist", "exclude")),
    ("license", ("licenses", "resources")),
    ("trackable resource", ("tres_per_task", "tres_bind")),
    ("dependency", ("dependency",)),
    ("reservation", ("reservation",)),
    ("burst buffer", ("bb",)),
    ("accounting frequency", ("acctg_freq",)),
    ("account", ("account",)),
    ("qos", ("qos",)),
    ("memory specification", ("mem_gib", "mem_per_cpu_gib", "mem_per_gpu_gib")),
)


def refused_by_slurm(error: HpcaiError, spec: JobSpec | None = None) -> Iterator[Finding]:
    """What it means when `sbatch --test-only` says no, or nothing; of a `spec`, at the key that it means."""
    if isinstance(error, UnreachableError):
        what = "When it would start is not known: sbatch --test-only got no answer in time."
        fix = "scontrol ping  # tells whether Slurm answers"
        yield Finding("start-unknown", "warning", "slurm", what, fix)
        return
    plugin = list(without_plugin("sbatch", [error]))
    if plugin:
        yield from plugin
        return
    key = None if spec is None else key_meant(error.what, spec)
    then = what_to_do(error, (key or "").rpartition(".")[2] or None)
    yield Finding("refused", "error", key or "sbatch --test-only", error.what, then)


def what_to_do(error: HpcaiError, field: str | None) -> str | None:
    """The next step after a refusal that means a field, or none that is known."""
    fix = _TAKES.get(field or "") or " ".join(part for part in (error.allowed, error.next_step) if part)
    if not fix and field:
        fix = f"man sbatch  # tells what --{option_names()[field]} takes"
    return fix or None


def key_meant(words: str, spec: JobSpec) -> str | None:
    """The key of the file that Slurm's words are about; None where it cannot be told from others."""
    fields, is_named = fields_meant(words)
    given = dict.fromkeys(key for field in fields for key in _keys(spec, field))
    return next(iter(given)) if len(given) == 1 or (is_named and given) else None


def fields_meant(words: str) -> tuple[list[str], bool]:
    """The fields that Slurm's words may be about, and whether these name their options."""
    options = slurm_options()
    named = [one for one in re.findall(r"--([a-z][a-z-]+)", words) if one in options and options[one].field]
    if named:
        return [str(options[one].field) for one in named], True
    said = words.lower()
    return list(next((fields for sign, fields in _MEANS if sign in said), ())), False


def _keys(spec: JobSpec, field: str) -> Iterator[str]:
    """Where a job gives a field: itself, or some of its parts."""
    if field in ComponentFields.model_fields:
        for number, one in enumerate(spec.components):
            if field in one.given():
                yield f"components[{number}].{field}"
    if getattr(spec, field) is not None:
        yield field
